"""Where positive contributions lie for several baselines of the path; `--record` writes the table into docs/explain.md.

python explanation_paths.py MODEL STORE --target bt --record

Objects are those of the validation split with pixels of known truth, for outliers also those of the training split.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import copy_to_docs
import numpy as np
import study
import torch
from explanation import read_masks
from scipy import ndimage

from astrodl import load_model, open_store
from astrodl.atomic import write_text
from astrodl.explanation.methods import METHODS, Options, attribute
from astrodl.explanation.target import Inputs
from astrodl.explanation.trust import (
    brightness,
    energy_inside,
    map_similarity,
    maps_of_shuffled,
    positive_inside,
)
from astrodl.metrics.bootstrap import bootstrap
from astrodl.pipeline.objects import labelled
from astrodl.tasks.explained import find_quantity, n_orientations, prepare_inputs

TRIALS = (
    ("input_x_gradient", "the network's own"),
    ("smooth_gradient", "the network's own"),
    ("gradient_shap", "sky"),
    ("gradient_shap", "the network's own"),
    ("gradient_shap", "azimuthal profile"),
    ("gradient_shap", "exponential disk"),
    ("gradient_shap", "symmetric galaxy"),
    ("occlusion", "azimuthal profile"),
    ("occlusion", "exponential disk"),
)
"""Methods and what images are compared with; the first two do not depend on it."""
SMOOTHINGS = (0.0, 1.0, 3.0)
"""Standard deviations in pixels of the Gaussian before the sign is taken."""
N_SHUFFLED = 8
N_OCCLUDED = 16
"""Objects for occlusion."""
DOCS = Path(__file__).parents[2] / "docs"


def measure_radius(flux: np.ndarray) -> np.ndarray:
    """Return the elliptical radius (y, x) in pixels by the second moments of the light above the noise."""
    smooth = ndimage.gaussian_filter(flux.mean(0), 1)
    y, x = np.indices(smooth.shape) - (smooth.shape[-1] - 1) / 2
    weight = np.where((smooth > 1.5) & (np.hypot(y, x) < 0.4 * len(smooth)), smooth, 0)
    if not weight.any():
        return np.hypot(y, x)
    xx, xy, yy = ((weight * a * b).sum() / weight.sum() for a, b in ((x, x), (x, y), (y, y)))
    covariance = np.array([[xx + 0.5, xy], [xy, yy + 0.5]])
    inverse = np.linalg.inv(covariance) * np.sqrt(np.linalg.det(covariance))
    return np.sqrt(inverse[0, 0] * x**2 + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y**2)


def make_profile(flux: np.ndarray, *, disk: bool = False) -> np.ndarray:
    """Return the galaxy (bands, y, x) with its azimuthal profile; `disk`: without what exceeds its exponential disk.

    The disk is a straight line through the logarithm of the profile between 0.9 and 3 half-light radii.
    """
    radius, n = measure_radius(flux), flux.shape[-1] // 2
    ring, middle, made = np.minimum(radius.astype(int), n - 1), np.arange(n) + 0.5, np.empty_like(flux)
    average = np.mean if disk else np.median
    for band, out in zip(flux, made, strict=True):
        profile = np.array([average(band[ring == k]) if (ring == k).any() else 0.0 for k in range(n)]).clip(0)
        if disk:
            growth = np.cumsum(profile * middle)
            half = np.interp(growth[int(0.8 * n)] / 2, growth, middle)
            outer = (middle > 0.9 * half) & (middle < 3 * half) & (profile > 0.1)
            if outer.sum() > 2:
                weight = np.sqrt(profile * middle)[outer]
                slope, start = np.polyfit(middle[outer], np.log(profile[outer]), 1, w=weight)
                profile = np.minimum(profile, np.exp(start + slope * middle)) if slope < 0 else profile
        out[:] = np.interp(radius, middle, profile)
    return made


def make_symmetric(flux: np.ndarray) -> np.ndarray:
    """Return the median of the four quarter turns."""
    return np.median([np.rot90(flux, k, (-2, -1)) for k in range(4)], axis=0)


BASELINES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "azimuthal profile": make_profile,
    "exponential disk": lambda flux: make_profile(flux, disk=True),
    "symmetric galaxy": make_symmetric,
}


def compare_with(inputs: Inputs, name: str) -> Inputs:
    """Return inputs with another noise-free baseline."""
    if name == "the network's own":
        return inputs
    if name == "sky":
        return Inputs(inputs.batch, inputs.sky)
    flux = inputs.sky.to_frame(inputs.image, "flux").numpy()
    made = torch.from_numpy(np.stack([BASELINES[name](each) for each in flux])).float()
    return Inputs(inputs.batch, inputs.sky, inputs.sky.from_flux(made))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--objects", type=int, default=48)
    parser.add_argument("--record", action="store_true", help="copy the table into docs/explain.md")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    model = load_model(args.model, device="cpu")
    explained, orientations = find_quantity(model, args.target), n_orientations(model.task)
    with open_store(args.store) as store:
        subsets = ("validation", "train") if model.task.name == "outliers" else ("validation",)
        rows = np.concatenate([labelled(type(model.task), model.task.settings, store, each) for each in subsets])
        masks = read_masks(model, args.target, store, rows)
        known = masks.any((1, 2))
        rows, masks = rows[known][: args.objects], masks[known][: args.objects]
        inputs = prepare_inputs(model, model.task.read(store, rows))
    rival, lines = brightness(inputs), []
    for method, name in TRIALS:
        n = N_OCCLUDED if method == "occlusion" else len(rows)
        some, mask = compare_with(inputs.rows(slice(0, n)), name), masks[:n]
        options, fixed = Options(draws=1), explained.fix(some)
        maps = attribute(explained, some, method, options=options, orientations=orientations, fixed=fixed).maps
        few = slice(0, N_SHUFFLED)
        others, order, _ = maps_of_shuffled(
            explained, some.rows(few), method, options=options, orientations=orientations, fixed=fixed[few]
        )
        against = [(energy_inside(maps, mask), energy_inside(rival[:n], mask))] + [
            (positive_inside(maps, mask, width), positive_inside(rival[:n], mask, width)) for width in SMOOTHINGS
        ]
        cells = [bootstrap(lambda own, other: np.nanmean(own) / np.nanmean(other), *pair) for pair in against]
        similarity = np.nanmean(map_similarity(maps[order], others))
        cells = [f"{value:.2f} ± {error:.2f}" for value, error in cells]
        lines.append([METHODS[method].title, name, f"{similarity:.2f}", *cells, str(n)])
        print(lines[-1], flush=True)
    columns = [f"positive part, smoothed by {width:g} px" if width else "positive part" for width in SMOOTHINGS]
    text = study.table(["method", "compared with", "similarity, shuffled", "modulus", *columns, "objects"], lines)
    limit = 1 / np.nanmean(energy_inside(rival, masks))
    kind = "validation and training" if len(subsets) > 1 else "validation"
    text += (
        f"\n\nEnergy on the truth in units of that of the brightest pixels, {len(rows)} {kind} objects; all energy on "
        f"the truth would be {limit:.2f}."
    )
    name = f"explain-paths-{model.task.name}-{args.target}"
    study.PAGES.mkdir(exist_ok=True)
    write_text(study.PAGES / f"{name}.md", text + "\n")
    print(text)
    if args.record:
        copy_to_docs.main(str(DOCS), f"explain.md={name}")


if __name__ == "__main__":
    main()
