"""Segmentation of real galaxies by networks of simulated images.

    python benchmarks/studies/clumps_real.py gama FOLDER DATA
    python benchmarks/studies/clumps_real.py egs FOLDER DATA

`gama`: DATA is the folder `gama_r_segm`, six galaxies in r of KiDS and of SDSS with segmentation maps that people have
checked (Robotham et al. 2017, MNRAS 466, 1513). A network is trained on simulated images with three widths of the
point-spread function, which it takes as input, and another one without; photutils is the rival. `egs`: DATA is
`hst_egs_specz`, 24 galaxies in F606W and F814W of HST. About five CPU minutes each; `--record` copies tables and
figures into docs/.
"""

import argparse
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import copy_to_docs
import numpy as np
import study
import torch
from astropy.io import fits
from astropy.table import Table, vstack
from clumps import DOCS
from figures import clump_sheet, segment_sheet
from scipy import ndimage

import astrodl
from astrodl.atomic import write_text
from astrodl.baselines.segmentation import central_segment, fit_central_segment
from astrodl.config import IngestSettings, SimulateSettings
from astrodl.metrics.segmentation import iou_per_image
from astrodl.pipeline.objects import labelled
from astrodl.simulator.survey import data_settings
from astrodl.store import open_store
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.segmentation.labels import read_segment

SIZE = 96
N_TUNED = 60
"""Training galaxies on which photutils is tuned."""
WIDTHS = [16, 32, 64, 128]


class Gama:
    """Segments of galaxies against their neighbours, in the working directory."""

    seeings = (0.7, 1.0, 1.4)
    """Full widths at half maximum in arcsec."""
    pixel_arcsec = 0.4
    n_each = 250

    def __init__(self, data: Path, compare_psf: bool = True) -> None:
        self.data, self.compare_psf = data, compare_psf

    def ingest(self) -> None:
        """Simulate galaxies at each seeing with the same noise per pixel, and ingest them as one survey."""
        tables = []
        for number, seeing in enumerate(self.seeings):
            settings = SimulateSettings(
                survey="lsst", bands=("r",), pixel_scale_arcsec=self.pixel_arcsec, size=SIZE, n_objects=self.n_each,
                instruments={"r": {"depth": 24.0, "aperture_arcsec": 1.0, "fwhm_arcsec": seeing}},
                magnitude_limit=18.0, oddity_fraction=0.0, structure_truth=True, seed=200 + number,
            )  # fmt: skip
            astrodl.simulate(settings, f"simulated/{number}", progress=False)
            table = Table.read(f"simulated/{number}/catalog.fits")
            table["seeing"] = str(number)
            table["name"] = [f"{number}-{one}" for one in table["object_id"]]
            tables.append(table)
        vstack(tables, metadata_conflicts="silent").write("simulated/catalog.fits", overwrite=True)
        data = data_settings(settings, Path("simulated")).model_dump()
        data["labels"]["path"] = "{seeing}/truth/{object_id}.fits"
        data |= {"path": "{seeing}/images/{object_id}.fits", "id_column": "name", "psf": {"extension": "PSF_{band}"}}
        astrodl.ingest(IngestSettings(survey="gama", data=data), "store.h5")

    def train(self, psf: bool) -> Model:
        """Train a network, with the point-spread function as input or without."""
        if not Path("store.h5").exists():
            self.ingest()
        settings = {"widths": WIDTHS, "psf": psf, "views": 1, "train": {"epochs": 6, "batch_size": 8}}
        path = astrodl.train(
            "segmentation", "store.h5", "network" if psf else "without-psf", settings=settings, device="cpu", threads=1,
            progress=False,
        )  # fmt: skip
        return load_model(path, device="cpu")

    def page(self) -> str:
        """Write tables and sheet."""
        models = {"network": self.train(True)}
        if self.compare_psf:
            models["network without the point-spread function"] = self.train(False)
        return "\n\n".join([self.simulated(models), self.real(models)])

    @cached_property
    def significance(self) -> float:
        """Threshold of photutils, from training galaxies."""
        with open_store("store.h5") as store:
            rows = store.select("train")[:N_TUNED]
            return fit_central_segment(store.images(rows)[:, 0], store.sky_sigma[rows, 0], read_segment(store, rows))

    def simulated(self, models: dict[str, Model]) -> str:
        """Score the networks on test galaxies of the simulation."""
        columns, names = (
            {},
            ("segment_iou", "bar_mae", "arm_mae", "clump_dice", "fraction_mae", "bt_rmse", "radius_scatter"),
        )
        with open_store("store.h5") as store:
            for name, model in models.items():
                task = model.task
                rows = labelled(type(task), task.settings, store, "test")
                found = task.score(task.finish(model.raw(task.read(store, rows))), task.truth(store, rows), {})
                columns[name] = [f"{found[key]['value']:.3f} ± {found[key]['error']:.3f}" for key in names]
            masks = central_segment(store.images(rows)[:, 0], store.sky_sigma[rows, 0], self.significance)
            iou = iou_per_image(read_segment(store, rows), masks)
        columns["photutils"] = [f"{np.nanmean(iou):.3f} ± {np.nanstd(iou) / np.sqrt(len(iou)):.3f}"]
        lines = [[f"`{key}`", *(column[k] if k < len(column) else "" for column in columns.values())]
                 for k, key in enumerate(names)]  # fmt: skip
        about = (
            f"{len(rows)} simulated test galaxies with three widths of the point-spread function "
            f"({', '.join(f'{one:g}' for one in self.seeings)} arcsec), one band, {3 * self.n_each:,} galaxies in all; "
            f"errors are bootstrap standard errors. photutils: threshold of {self.significance:g} times the noise, the "
            "best of training galaxies."
        )
        return about + "\n\n" + study.table(["metric", *columns], lines)

    def real(self, models: dict[str, Model]) -> str:
        """Compare with the maps that people have checked."""
        with open_store("store.h5") as store:
            noise = float(np.median(store.sky_sigma[:, 0]))
        rows, shown = [], []
        for row in Table.read(self.data / "manifest.csv"):
            image, psf, truth = self.read(row["survey"], row["gama_id"])
            sigma = _noise(image)
            scaled, masks = image[None] * np.float32(noise / sigma), []
            for model in models.values():
                takes_psf = model.task.context.constants["psf"] is not None
                maps = astrodl.segment(model, scaled, psf=psf[None] if takes_psf else None)
                masks.append(_central_part(maps["segment"] > 0.5))
            masks.append(central_segment(image[None], np.array([sigma]), self.significance)[0])
            masks.append(central_segment(image[None], np.array([sigma]))[0])
            rows.append([row["survey"], *(float(iou_per_image(truth[None], mask[None])[0]) for mask in masks)])
            shown.append((f"{row['survey']} {row['gama_id']}", image / sigma, truth, masks[0], masks[2]))
        lines = []
        for survey in ("KiDS", "SDSS"):
            values = np.array([row[1:] for row in rows if row[0] == survey])
            cells = (f"{mean:.2f} ({low:.2f} to {high:.2f})" for mean, low, high in zip(
                values.mean(0), values.min(0), values.max(0), strict=True))  # fmt: skip
            lines.append([survey, str(len(values)), *cells])
        head = ["images", "galaxies", *models, f"photutils, {self.significance:g} σ", "photutils, 1.5 σ"]
        about = (
            "Intersection over union with the checked maps, mean (smallest to largest). The images are scaled to the "
            "noise of the simulation, those of KiDS binned to pixels of 0.4 arcsec. Of the network's mask, the "
            "connected part nearest to the centre counts, with holes filled."
        )
        figure = study.show("Segments of GAMA galaxies", "segmentation-gama.png", segment_sheet(shown))
        legend = "Black: checked by people; orange: network; blue: photutils."
        return about + "\n\n" + study.table(head, lines) + "\n\n" + legend + "\n" + figure

    def read(self, survey: str, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read image, point-spread function and the segment at the centre; KiDS in squares of two pixels."""
        image, psf, segments = (
            fits.getdata(self.data / survey / f"G{number}{kind}.fits").astype(np.float64)
            for kind in ("fitim", "psfim", "segim")
        )
        truth = segments == segments[tuple(side // 2 for side in segments.shape)]
        if survey == "KiDS":
            image, truth, psf = _bin(image), _bin(truth.astype(float)) >= 2, _bin(np.pad(psf, ((1, 0), (1, 0))))
        return image.astype(np.float32), psf.astype(np.float32), truth


class Egs:
    """Clumps and bulge light of HST images, in the working directory."""

    bands = ("F606W", "F814W")
    zero_points = (26.486, 25.937)
    """AB magnitudes of one count per second (ACS/WFC, 2004)."""
    n_objects = 1600
    pixel_arcsec = 0.06

    def __init__(self, data: Path) -> None:
        self.data = data
        self.galaxies = Table.read(data / "redshifts.csv")

    @cached_property
    def images(self) -> np.ndarray:
        """Fluxes in microjansky on pixels of 0.06 arcsec, (n, 2, 96, 96); NaN beyond the mosaic."""
        return np.stack(
            [
                np.stack([self._read(row, *band) for band in zip("vi", self.zero_points, strict=True)])
                for row in self.galaxies
            ]
        )

    def _read(self, row: Any, band: str, zero_point: float) -> np.ndarray:
        counts = fits.getdata(self.data / row[f"file_{band}"]).astype(np.float64)
        counts[counts == 0] = np.nan
        # odd sides: the central pixel ends up beside the middle of the cutout
        binned = _bin(counts[1:, 1:]) * 10 ** ((23.9 - zero_point) / 2.5)
        cut = (binned.shape[0] - SIZE) // 2
        return binned[cut : cut + SIZE, cut : cut + SIZE].astype(np.float32)

    def train(self) -> Model:
        """Simulate the two bands with the noise of the real images, and train a network."""
        if not Path("store.h5").exists():
            noise = np.median([[_noise(plane) for plane in image] for image in self.images], axis=0)
            # noise per pixel to the depth in an aperture of 0.3 arcsec
            depth = 23.9 - 2.5 * np.log10(5 * noise * np.sqrt(np.pi) * 0.3 / self.pixel_arcsec)
            instruments = {
                band: {"depth": float(value), "aperture_arcsec": 0.3}
                for band, value in zip(self.bands, depth, strict=True)
            }
            print("5 sigma depth in 0.3 arcsec:", dict(zip(self.bands, depth.round(2).tolist(), strict=True)))
            settings = SimulateSettings(
                survey="candels", bands=self.bands, instruments=instruments, pixel_scale_arcsec=self.pixel_arcsec,
                size=SIZE, n_objects=self.n_objects, magnitude_limit=22.5, oddity_fraction=0.0, seed=300,
            )  # fmt: skip
            astrodl.simulate(settings, "simulated", progress=False)
            data = data_settings(settings, Path("simulated"))
            astrodl.ingest(IngestSettings(survey="egs", data=data), "store.h5")
        settings = {"widths": WIDTHS, "views": 1, "photometry": False, "train": {"epochs": 8, "batch_size": 8}}
        path = astrodl.train(
            "segmentation", "store.h5", "network", settings=settings, device="cpu", threads=1, progress=False
        )
        return load_model(path, device="cpu")

    def page(self) -> str:
        """Write the sheet and what was found."""
        model = self.train()
        noise = np.array([[_noise(plane) for plane in image] for image in self.images], np.float32)
        predicted = model.predict(self.images, sky_sigma=noise)
        number, bt = predicted["n_clumps"], predicted["bt"]
        order = np.argsort(-number, kind="stable")[:12]
        sheet = clump_sheet(
            self.images[order], [np.zeros((0, 2))] * len(order),
            {name: predicted[name][order] for name in ("clump_y", "clump_x")},
            [f"{self.galaxies['deep2_objno'][k]}: B/T {bt[k]:.2f}" for k in order],
        )  # fmt: skip
        about = (
            f"{len(number)} galaxies in F606W and F814W, by a network that was trained on {self.n_objects:,} simulated "
            f"ones of the same depth: {number.sum():.0f} clumps in {np.count_nonzero(number)} galaxies, median B/T "
            f"{np.median(bt):.2f}. The twelve with most clumps; crosses: detected."
        )
        return "\n\n".join([about, study.show("Clumps in the Extended Groth Strip", "segmentation-egs.png", sheet)])


def _bin(image: np.ndarray) -> np.ndarray:
    """Sum squares of two pixels; an odd row or column at the end is left out."""
    height, width = (side // 2 * 2 for side in image.shape)
    return image[:height, :width].reshape(height // 2, 2, width // 2, 2).sum((1, 3))


def _central_part(mask: np.ndarray) -> np.ndarray:
    """Return the connected part of a mask that is nearest to the centre, with its holes filled."""
    filled = ndimage.binary_fill_holes(mask)
    numbers, n_parts = ndimage.label(filled)
    if not n_parts:
        return filled
    y, x = np.nonzero(numbers)
    nearest = np.argmin((y - mask.shape[0] // 2) ** 2 + (x - mask.shape[1] // 2) ** 2)
    return numbers == numbers[y[nearest], x[nearest]]


def _noise(image: np.ndarray) -> float:
    """Measure the noise at the border from the faint half of the pixels, which sources seldom brighten."""
    border = np.ones(image.shape, bool)
    border[8:-8, 8:-8] = False
    values = image[border & np.isfinite(image)]
    return float(np.percentile(values, 50) - np.percentile(values, 15.87))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["gama", "egs"])
    parser.add_argument("folder", type=Path, help="folder of the study")
    parser.add_argument("data", type=Path, help="folder gama_r_segm or hst_egs_specz")
    parser.add_argument("--one-network", action="store_true", help="gama: only the network with point-spread functions")
    parser.add_argument("--record", action="store_true", help="copy tables and figures into docs/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    data = options.data.resolve()
    os.chdir(options.folder)
    real = Gama(data, not options.one_network) if options.part == "gama" else Egs(data)
    study.PAGES.mkdir(exist_ok=True)
    write_text(study.PAGES / f"segmentation-{options.part}.md", real.page() + "\n")
    if options.record:
        copy_to_docs.main(str(DOCS), f"tasks/segmentation.md=segmentation-{options.part}")


if __name__ == "__main__":
    main()
