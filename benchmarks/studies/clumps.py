"""Accuracy of clumps, bulge and disk on a simulated survey, as tables for docs/tasks/segmentation.md.

python benchmarks/studies/clumps.py STORE MODEL [MODEL ...] [--simulated FOLDER --fits N] [--split test]

STORE is a simulated survey that `astrodl ingest` wrote, MODEL trained networks of the task segmentation (one per seed).
With the folder of `astrodl simulate`, N galaxies are also fitted with a Sersic bulge and an exponential disk, convolved
with the true point-spread function, from the true parameters as the starting point.
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from scipy.optimize import least_squares
from study import table

from astrodl import load_model, open_store
from astrodl.metrics.clumps import free_response
from astrodl.pipeline.objects import labelled
from astrodl.plots.style import wilson_interval
from astrodl.store import Reader
from astrodl.tasks.base import Arrays
from astrodl.tasks.model import Model
from astrodl.tasks.segmentation.ratio import is_open
from astrodl.tasks.segmentation.scoring import match

BINS = {
    "S/N of the clump": (2, [0, 3, 5, 10, 20, np.inf]),
    "share of the galaxy's flux": (4, [0, 0.01, 0.03, 0.08, np.inf]),
}
FIT_BOUNDS = ([0, 0, 0.02, 0.02, 0.7, 0.2, 0.1, -np.inf, -3, -3], [np.inf, np.inf, 3, 3, 6.0, 1, 1, np.inf, 3, 3])


def share(hits: np.ndarray) -> str:
    """Format a binomial fraction with its 68 % interval."""
    low, high = wilson_interval(hits.sum(), len(hits))
    return f"{hits.mean():.3f} ({float(low):.3f}-{float(high):.3f})" if len(hits) else ""


def objects(predicted: Arrays, truth: Arrays, radius_pixels: np.ndarray) -> str:
    """Tabulate the completeness of detectable clumps in bins of their properties, and the free response."""
    rows, of_truth, found, of_found = match(predicted, truth)
    detectable = rows[:, 5] > 0
    image = rows[:, 6].astype(int)
    middle = (truth["mask"].shape[-1] - 1) / 2
    distance = np.hypot(rows[:, 0] - middle, rows[:, 1] - middle) / radius_pixels[image]
    properties = {name: (rows[:, column], edges) for name, (column, edges) in BINS.items()}
    properties["distance in half-light radii"] = (distance, [0, 0.5, 1, 2, np.inf])
    lines = []
    for name, (values, edges) in properties.items():
        for low, high in itertools.pairwise(edges):
            chosen = detectable & (values >= low) & (values < high)
            lines.append([name, f"{low:g} to {high:g}", str(chosen.sum()), share(of_truth[chosen] >= 0)])
    finds = np.where(of_found >= 0, detectable[of_found], False)
    _, completeness, purity = free_response(found.value, of_found >= 0, finds, int(detectable.sum()))
    number = np.bincount(found.image, minlength=len(truth["bt"])) - (truth["clumps"][:, :, 5] > 0).sum(1)
    offsets = np.hypot(*(rows[of_found[of_found >= 0], :2] - np.column_stack([found.y, found.x])[of_found >= 0]).T)
    about = (
        f"Purity {share(of_found >= 0)} at completeness {share(of_truth[detectable] >= 0)}; at the most probable half "
        f"of the clumps, purity {purity[len(purity) // 2]:.3f} at completeness {completeness[len(purity) // 2]:.3f}. "
        f"Predicted minus true number per galaxy {number.mean():+.3f}, scatter {number.std():.3f}; median distance of "
        f"a pair {np.median(offsets):.2f} pixels."
    )
    return about + "\n\n" + table(["property", "bin", "clumps", "completeness"], lines)


def ratios(predicted: dict[str, np.ndarray], truth: np.ndarray, by: dict[str, np.ndarray], summary: Arrays) -> str:
    """Tabulate the errors of bulge-to-total ratios of several methods, and the coverage, in bins."""
    rows = []
    for name, values in {"all": np.zeros(len(truth)), **by}.items():
        edges = np.unique(np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1])) if name != "all" else np.array([0, 1])
        for low, high in itertools.pairwise(edges):
            chosen = (values >= low) & ((values < high) | (high == edges[-1]))
            covered = (summary["bt_low68"] <= truth) & (truth <= summary["bt_high68"])
            row = [name, f"{low:.3g} to {high:.3g}" if name != "all" else "", str(chosen.sum())]
            for method in predicted.values():
                error = (method - truth)[chosen & np.isfinite(method)]
                row.append(
                    f"{np.sqrt(np.mean(error**2)):.3f}, {np.mean(np.abs(error) < 0.1):.2f}" if len(error) else ""
                )
            row.append(share(covered[chosen & is_open(summary)]))
            rows.append(row)
    head = ["quantity", "bin", "galaxies", *(f"{name}: RMSE, within 0.1" for name in predicted), "coverage"]
    return table(head, rows)


# -- the profile fit --------------------------------------------------------------------------------------------------


def fit_profiles(store: Reader, indices: np.ndarray, folder: Path, reference: int) -> tuple[np.ndarray, float]:
    """Fit a Sersic bulge and an exponential disk from the true parameters; return B/T and seconds per galaxy."""
    results, start = [], time.process_time()
    for index in indices:
        pixels = store.images([index])[0, reference].astype(float)
        sigma = float(store.sky_sigma[index, reference])
        band = store.bands[reference]
        psf = fits.getdata(folder / "images" / f"{store.object_id[index]}.fits", f"PSF_{band}").astype(float)
        results.append(_fit(pixels, sigma, psf, store, int(index)))
    return np.array(results), (time.process_time() - start) / max(len(indices), 1)


def _fit(pixels: np.ndarray, sigma: float, psf: np.ndarray, store: Reader, index: int) -> float:
    import galsim

    scale = store.pixel_scale_arcsec
    seeing = galsim.InterpolatedImage(galsim.Image(psf / psf.sum(), scale=scale))

    def draw(p: np.ndarray) -> np.ndarray:
        angle = p[7] * galsim.radians
        parts = []
        if p[0] > 0:
            parts.append(
                galsim.Sersic(p[4], half_light_radius=p[2], flux=p[0], trunc=12 * p[2]).shear(q=p[5], beta=angle)
            )
        if p[1] > 0:
            parts.append(galsim.Exponential(half_light_radius=p[3], flux=p[1]).shear(q=p[6], beta=angle))
        if not parts:
            return np.zeros_like(pixels)
        model = galsim.Convolve(galsim.Add(parts), seeing).shift(p[8] * scale, p[9] * scale)
        image: np.ndarray = model.drawImage(
            nx=pixels.shape[1], ny=pixels.shape[0], scale=scale, method="no_pixel"
        ).array
        return image.astype(float)

    column = {
        name: float(store.column(name, [index])[0]) for name in ("bt", "radius_arcsec", "axis_ratio", "position_angle")
    }
    total = max(float(pixels.sum()), 1e-6)
    q = column["axis_ratio"] if np.isfinite(column["axis_ratio"]) else 0.7
    angle = np.radians(column["position_angle"] + 90) if np.isfinite(column["position_angle"]) else 0.0
    radius = np.clip(column["radius_arcsec"], 0.03, 2.5)
    first = [column["bt"] * total, (1 - column["bt"]) * total, 0.5 * radius, radius, 3.0, 0.5 + 0.5 * q, q, angle, 0, 0]
    first = np.clip(first, np.array(FIT_BOUNDS[0]) + 1e-4, np.array(FIT_BOUNDS[1]) - 1e-4)

    def residual(p: np.ndarray) -> np.ndarray:
        # photon noise adds little to that of the sky; neighbours weigh less
        return np.arcsinh((pixels - draw(p)).ravel() / sigma / 3) * 3

    size = np.array([total, total, radius, radius, 1, 0.3, 0.3, 0.3, 0.5, 0.5])
    try:
        best = least_squares(residual, first, bounds=FIT_BOUNDS, x_scale=size, diff_step=1e-3, max_nfev=25).x
    except (galsim.GalSimError, ValueError):
        return float("nan")
    return float(best[0] / max(best[0] + best[1], 1e-12))


# -- all tables -------------------------------------------------------------------------------------------------------


def predict(models: list[Model], store: Reader, indices: np.ndarray) -> tuple[Arrays, float]:
    """Predict objects with the mean of the models; return seconds per galaxy and model, too."""
    start = time.process_time()
    raw = [model.raw(model.task.read(store, indices)) for model in models]
    seconds = (time.process_time() - start) / len(indices) / len(models)
    mean = {name: np.mean([part[name] for part in raw], axis=0) for name in raw[0]}
    return models[0].task.finish(mean), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--split", default="test")
    parser.add_argument("--simulated", type=Path)
    parser.add_argument("--fits", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = [load_model(path, device="cpu") for path in args.models]
    task = models[0].task
    with open_store(args.store) as store:
        indices = labelled(type(task), task.settings, store, args.split)
        train = labelled(type(task), task.settings, store, "train")
        predicted, seconds = predict(models, store, indices)
        truth = task.truth(store, indices)
        methods = {"network": predicted["bt"]}
        scores = {"network": task.score(predicted, truth, {})}
        for name, (arrays, _) in task.baselines(store, train, store, indices).items():
            scores[name] = task.score(arrays, truth, {})
            methods[name] = arrays["bt"]
        if args.fits:
            some = np.random.default_rng(0).permutation(len(indices))[: args.fits]
            fitted, fit_seconds = fit_profiles(
                store, indices[some], args.simulated, task.context.constants["reference"]
            )
            methods["profile fit"] = np.full(len(indices), np.nan)
            methods["profile fit"][some] = fitted
            error = {name: (values - truth["bt"])[some][np.isfinite(fitted)] for name, values in methods.items()}
            summary = ", ".join(f"{name} {np.sqrt(np.mean(e**2)):.3f}" for name, e in error.items())
            print(f"On the {len(some)} fitted galaxies ({np.isnan(fitted).sum()} fits failed), B/T RMSE: {summary}.")
            print(
                f"CPU seconds per galaxy: fit {fit_seconds:.2f}, network {seconds:.4f} "
                f"({fit_seconds / seconds:.0f} times less).\n"
            )
        rows = [
            [
                metric,
                *(
                    f"{s[metric]['value']:.4f} ± {s[metric]['error']:.4f}" if metric in s else ""
                    for s in scores.values()
                ),
            ]
            for metric in scores["network"]
        ]
        print(table(["metric", *scores], rows) + "\n")
        scale = store.pixel_scale_arcsec or 1.0
        radius = store.column("radius_arcsec", indices) / scale
        print(objects(predicted, truth, radius) + "\n")
        by = {
            "magnitude": store.column("magnitude", indices),
            "S/N": store.features(["snr"], indices)[:, 0],
            "radius (arcsec)": store.column("radius_arcsec", indices),
            "inclination": store.column("inclination", indices),
            "z": store.column("z", indices),
        }
        print(ratios(methods, truth["bt"], by, predicted))


if __name__ == "__main__":
    main()
