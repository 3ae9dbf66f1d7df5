"""Clumps in real galaxies: a network of simulated SDSS images on 58 galaxies of Stripe 82 with published clumps.

    python benchmarks/studies/clumps_s82.py FOLDER DATA

DATA is the folder `s82_clumpy` with the colour images and the clumps of Mehta et al. (2021, ApJ 912, 49). The simulated
survey has the bands g, r and i, the seeing of the co-added images, and the noise that is measured in the real images,
whose stretch is inverted. Five CPU minutes; `--record` copies table and sheet into docs/.
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
from astropy.table import Table
from clumps import DOCS, share
from figures import clump_sheet
from scipy import ndimage

import astrodl
from astrodl.atomic import write_text
from astrodl.config import IngestSettings, SimulateSettings
from astrodl.ingestion.rgb import decode
from astrodl.metrics.clumps import match_positions
from astrodl.photometry.clumps import find_peaks
from astrodl.simulator.survey import data_settings
from astrodl.tasks.base import Arrays
from astrodl.tasks.model import load_model
from astrodl.tasks.segmentation.clumps import listed

BANDS = ("g", "r", "i")
PIXEL_ARCSEC, SIZE = 0.5, 96
SEEING_ARCSEC = 1.15
"""Median full width at half maximum of the co-added images in r (Annis et al. 2014, ApJ 794, 120)."""
NONLINEARITY = 8.0
"""Parameter Q of the arsinh stretch of SDSS colour images (Lupton et al. 2004, PASP 116, 133)."""
MATCH_ARCSEC = 1.0
N_SIMULATED, EPOCHS = 1600, 6


class Stripe82:
    """The study, in the working directory."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.galaxies, self.clumps = (Table.read(data / f"{name}.csv") for name in ("galaxies", "clumps"))

    @cached_property
    def images(self) -> np.ndarray:
        """Fluxes in microjansky in g, r and i on pixels of 0.5 arcsec, (n, 3, y, x)."""
        return np.stack([self._linear(row) for row in self.galaxies])

    @cached_property
    def noise(self) -> np.ndarray:
        """Noise of the pixels at the border of each image, (n, 3)."""
        border = np.ones((SIZE, SIZE), bool)
        border[8:-8, 8:-8] = False
        sky = self.images[:, :, border]
        return 1.4826 * np.median(np.abs(sky - np.median(sky, axis=2, keepdims=True)), axis=2)

    def _linear(self, row: Any) -> np.ndarray:
        """Invert the stretch of a colour image, scale it to the published fluxes, and bin it."""
        channels = decode((self.data / row["file"]).read_bytes())[::-1].astype(float) / 255  # g, r, i
        mean = channels.mean(axis=0)
        linear = channels * np.sinh(NONLINEARITY * mean) / np.maximum(NONLINEARITY * mean, 1e-3)
        factor = row["pix_arcsec"] / PIXEL_ARCSEC
        grid = (np.arange(SIZE) - (SIZE - 1) / 2) / factor + (channels.shape[-1] - 1) / 2
        smooth = ndimage.gaussian_filter(linear, (0, 0.42 / factor, 0.42 / factor))
        planes = np.stack([ndimage.map_coordinates(p, np.meshgrid(grid, grid, indexing="ij"), order=1) for p in smooth])
        border = np.concatenate([planes[:, :8].reshape(3, -1), planes[:, -8:].reshape(3, -1)], axis=1)
        planes -= np.median(border, axis=1)[:, None, None]
        axis = np.arange(SIZE) - (SIZE - 1) / 2
        inside = np.hypot(axis[:, None], axis) * PIXEL_ARCSEC < 1.5 * row["petroR90_r_arcsec"]
        total = np.array([10 ** ((23.9 - row[f"mag_{band}"]) / 2.5) for band in BANDS])
        return (planes * (total / planes[:, inside].sum(1))[:, None, None]).astype(np.float32)

    def published(self, number: int) -> np.ndarray:
        """Return row and column of the published clumps of a galaxy that lie in its cutout, and their shares in r."""
        row = self.galaxies[number]
        own = self.clumps[self.clumps["sdss_s82_objid"] == row["sdss_s82_objid"]]
        side, factor = 424, row["pix_arcsec"] / PIXEL_ARCSEC
        x = (np.asarray(own["x_pix"]) - (side - 1) / 2) * factor + (SIZE - 1) / 2
        y = ((side - 1) - np.asarray(own["y_pix_from_top"]) - (side - 1) / 2) * factor + (SIZE - 1) / 2
        shares = np.asarray(own["clump_flux_r"] / own["gal_flux_r"], float)
        kept = (np.minimum(x, y) >= 2) & (np.maximum(x, y) < SIZE - 2)
        return np.column_stack([y, x, shares])[kept]

    def train(self) -> Path:
        """Simulate the survey with the noise of the real images, and train a network."""
        if not Path("store.h5").exists():
            # noise per pixel to the depth of a point source that fills the effective area of the seeing
            sigma = SEEING_ARCSEC / 2.355 / PIXEL_ARCSEC
            limit = 5 * np.median(self.noise, axis=0) * np.sqrt(4 * np.pi * (sigma**2 + 1 / 12))
            depth = 23.9 - 2.5 * np.log10(limit)
            print("5 sigma depth:", ", ".join(f"{band} {value:.2f}" for band, value in zip(BANDS, depth, strict=True)))
            instruments = {
                band: {"depth": float(value), "fwhm_arcsec": SEEING_ARCSEC}
                for band, value in zip(BANDS, depth, strict=True)
            }
            settings = SimulateSettings(
                survey="lsst", bands=BANDS, instruments=instruments, pixel_scale_arcsec=PIXEL_ARCSEC, size=SIZE,
                n_objects=N_SIMULATED, magnitude_limit=18.0, oddity_fraction=0.0, seed=82,
            )  # fmt: skip
            astrodl.simulate(settings, "simulated", progress=False)
            astrodl.ingest(IngestSettings(survey="s82", data=data_settings(settings, Path("simulated"))), "store.h5")
        training = {"epochs": EPOCHS, "batch_size": 8}
        return astrodl.train(
            "segmentation", "store.h5", "network", settings={"train": training, "photometry": False}, device="cpu",
            threads=1, progress=False,
        )  # fmt: skip

    def page(self) -> str:
        """Write table and sheet."""
        model = load_model(self.train(), device="cpu")
        predicted = model.predict(self.images, sky_sigma=self.noise.astype(np.float32))
        truth = [self.published(number) for number in range(len(self.galaxies))]
        rows = np.concatenate([np.column_stack([np.full(len(one), k), one]) for k, one in enumerate(truth)])
        found = listed(*(predicted[f"clump_{name}"] for name in ("y", "x", "probability")))
        lines = []
        for label, kept in (
            ("threshold for a purity of 0.85", found),
            ("as many as are published", self.most(predicted, len(rows))),
        ):
            hit, own = match_positions(
                rows[:, 0], rows[:, 1:3], kept.image, np.column_stack([kept.y, kept.x]), MATCH_ARCSEC / PIXEL_ARCSEC
            )
            chance = self.by_chance(rows, kept)
            for low, high in ((0, 1), (0, 0.003), (0.003, 0.01), (0.01, 1)):
                chosen = (rows[:, 3] >= low) & (rows[:, 3] < high)
                name = (
                    "all"
                    if high - low == 1
                    else f"{100 * low:.1f} to {100 * high:.1f} %"
                    if high < 1
                    else f"above {100 * low:.1f} %"
                )
                extra = [str(len(own)), f"{(own < 0).sum()}", f"{chance:.2f}"] if high - low == 1 else ["", "", ""]
                lines.append([label, name, str(chosen.sum()), share(hit[chosen] >= 0), *extra])
        head = [
            "detections",
            "share of the flux in r",
            "published",
            "recall",
            "detected",
            "not published",
            "recall by chance",
        ]
        about = (
            f"{len(truth)} galaxies of Stripe 82 and {len(rows)} published clumps, by a network that was trained on "
            f"{N_SIMULATED:,} simulated galaxies, matched within {MATCH_ARCSEC:g} arcsec. By chance: detections turned "
            f"by half a turn about the centre. Half of the published clumps have less than "
            f"{100 * np.median(rows[:, 3]):.1f} % of the flux; simulated ones have at least 0.4 %. Circles: "
            "published; crosses: detected."
        )
        sheet = clump_sheet(self.images, truth, predicted, [str(one) for one in self.galaxies["sdss_s82_objid"]])
        return "\n\n".join(
            [about, study.table(head, lines), study.show("Clumps in Stripe 82", "segmentation-s82.png", sheet)]
        )

    def most(self, predicted: Arrays, n: int) -> Any:
        """Return the `n` highest peaks of the map of probability, whatever the threshold."""
        peaks = find_peaks(predicted["clump"], 0.005, 1.5)
        return peaks.select(peaks.value >= np.sort(peaks.value)[-min(n, len(peaks.value))])

    def by_chance(self, rows: np.ndarray, kept: Any) -> float:
        """Return the recall of detections that are turned by half a turn."""
        turned = SIZE - 1 - np.column_stack([kept.y, kept.x])
        hit, _ = match_positions(rows[:, 0], rows[:, 1:3], kept.image, turned, MATCH_ARCSEC / PIXEL_ARCSEC)
        return float(np.mean(hit >= 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the study")
    parser.add_argument("data", type=Path, help="folder s82_clumpy")
    parser.add_argument("--record", action="store_true", help="copy table and sheet into docs/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    data = options.data.resolve()
    os.chdir(options.folder)
    real = Stripe82(data)
    study.PAGES.mkdir(exist_ok=True)
    write_text(study.PAGES / "segmentation-s82.md", real.page() + "\n")
    if options.record:
        copy_to_docs.main(str(DOCS), "tasks/segmentation.md=segmentation-s82")


if __name__ == "__main__":
    main()
