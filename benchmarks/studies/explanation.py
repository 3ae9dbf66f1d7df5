"""Test every attribution method on a task's test objects; `--record` writes the table into docs/explain.md.

python explanation.py MODEL STORE --target z_mean --split validation    # the choice of a default
python explanation.py MODEL STORE --target z_mean --record              # the table
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import copy_to_docs
import numpy as np
import study
import torch
from scipy import ndimage

from astrodl import load_model, open_store
from astrodl.atomic import write_json, write_text
from astrodl.explanation.methods import METHODS, Options, allowed, attribute
from astrodl.explanation.target import Explained, Inputs
from astrodl.explanation.trust import (
    FAILS_ABOVE,
    FRACTIONS,
    area_share,
    brightness,
    deletion,
    energy_inside,
    insertion,
    map_similarity,
    maps_of_shuffled,
    positive_inside,
    rank_correlation,
    with_noise,
)
from astrodl.metrics.bootstrap import bootstrap
from astrodl.models.symmetries import undo_symmetry
from astrodl.pipeline.explain import find_objects
from astrodl.plots.explanation import deletion_curves
from astrodl.plots.style import save
from astrodl.store import Reader
from astrodl.tasks.explained import find_quantity, n_orientations, prepare_inputs
from astrodl.tasks.model import Model

FLIP = 4
"""A reflection, see `apply_symmetry`."""
CHANGED_DERIVATIVE = ("guided_backpropagation", "deconvolution")
"""Methods whose maps are neither a slope nor a contribution: never a default."""
UNSIGNED = ("z_mean", "z_median", "z_width", "odds", "class", "answer", "hubble")
"""Numbers that the light of the galaxy raises or lowers."""
RIVALS = ("brightest", "random")
COMPLETE = 0.02
"""Residual in units of the change of the number below which the sum of a map counts as complete."""
N_RESIDUAL = 40
"""Objects whose completeness residual is measured."""
MIN_SEPARATION = 4
"""Smallest distance in pixels of the two nuclei of a merger."""
DOCS = Path(__file__).parents[2] / "docs"
COLUMNS = {
    "similarity": ("similarity, all weights shuffled", 2),
    "similarity_top": ("similarity, last third shuffled", 2),
    "deletion": ("deletion / random", 2),
    "insertion": ("insertion / random", 2),
    "localisation": ("localisation / random", 2),
    "positive": ("positive part / brightest", 2),
    "agreement": ("agreement", 2),
    "stability": ("other noise", 2),
    "flip": ("flipped", 2),
    "complete": ("residual below 2 %", 2),
    "residual": ("residual, 95 %", 3),
    "score": ("score", 2),
    "n_objects": ("objects", 0),
}


class Trial(NamedTuple):
    """What all methods are tested on."""

    explained: Explained
    inputs: Inputs
    fixed: torch.Tensor
    masks: np.ndarray
    options: Options
    orientations: int
    n_few: int

    def first(self, n: int) -> "Trial":
        part = slice(0, n)
        return self._replace(inputs=self.inputs.rows(part), fixed=self.fixed[part], masks=self.masks[part])

    def maps(self, method: str, explained: Explained | None = None, inputs: Inputs | None = None) -> np.ndarray:
        return attribute(
            explained or self.explained, inputs or self.inputs, method,
            options=self.options, orientations=self.orientations, fixed=self.fixed,
        ).maps  # fmt: skip


def read_masks(model: Model, target: str, store: Reader, rows: np.ndarray) -> np.ndarray:
    """Return the pixels where the answer lies by the truth of the simulation, (N, y, x); empty where it has none.

    Clump pixels for clumps; pixels with mostly bulge light for B/T; light that is not the galaxy's (the oddity, or a
    neighbour) of odd objects for the outlier score; the companion for the logit of a merger; else the pixels of the
    galaxy.
    """
    size = model.task.settings.view if model.task.name == "latent" else model.task.context.size
    if model.task.name == "latent" or "bulge" not in store.label_names:
        return np.zeros((len(rows), size, size), bool)
    parts = np.stack([store.label(name, rows) for name in ("bulge", "disk", "clump")], axis=1)
    band = len(store.bands) // 2
    sigma = store.sky_sigma[rows, band][:, None, None]
    galaxy = parts.sum(1)
    if target.startswith("clump"):
        return (parts[:, 2] > sigma) & (parts[:, 2] > 0.3 * parts[:, :2].sum(1))
    if target == "bt":
        return (parts[:, 0] > 0.5 * galaxy) & (galaxy > sigma)
    if model.task.name == "outliers":
        rest = np.nan_to_num(store.images(rows)[:, band] - galaxy)
        smooth = ndimage.uniform_filter(rest, (0, 3, 3)) * 3  # in units of its own noise
        odd = (store.column("oddity", rows).astype(str) != "")[:, None, None]
        return (smooth > np.hypot(5 * sigma, 0.15 * galaxy)) & odd
    if target.endswith("_merger"):
        return np.array([find_companion(bulge) for bulge in parts[:, 0]]) & (galaxy > sigma)
    return galaxy > sigma


def find_companion(bulge: np.ndarray) -> np.ndarray:
    """Return the pixels nearer to the second brightest nucleus than to the brightest; none where there is one alone."""
    smooth = ndimage.gaussian_filter(bulge, 1.0)
    size = 2 * MIN_SEPARATION + 1
    y, x = np.nonzero((smooth == ndimage.maximum_filter(smooth, size)) & (smooth > 0.05 * smooth.max()))
    order = smooth[y, x].argsort()[::-1]
    if len(order) < 2:
        return np.zeros(bulge.shape, bool)
    grid = np.indices(bulge.shape)
    first, second = (np.hypot(grid[0] - y[k], grid[1] - x[k]) for k in order[:2])
    return second < first


def judge(trial: Trial, method: str) -> tuple[dict[str, np.ndarray | float], np.ndarray]:
    """Return the numbers of each object, and the maps."""
    made = attribute(
        trial.explained, trial.inputs, method, options=trial.options, orientations=trial.orientations, fixed=trial.fixed
    )
    few, maps = trial.first(trial.n_few), made.maps
    flipped = torch.from_numpy(few.maps(method, inputs=few.inputs.turn(FLIP)).copy())
    noisy = few.maps(method, inputs=with_noise(few.inputs))
    first = maps[: trial.n_few]
    found: dict[str, np.ndarray | float] = {
        "similarity": compare_with_shuffled(few, method, first, 1.0),
        "similarity_top": compare_with_shuffled(few, method, first, 1 / 3),
        "stability": rank_correlation(first, noisy),
        "flip": rank_correlation(first, undo_symmetry(flipped, FLIP).numpy()),
    }
    if METHODS[method].adds_up:
        some, usual = trial.first(min(N_RESIDUAL, len(trial.inputs))), Options()
        made = attribute(
            some.explained, some.inputs, method, options=usual, orientations=trial.orientations, fixed=some.fixed
        )
        found["residual"] = np.abs(made.residual / made.change)
    return found | perturb(trial, maps), maps


def compare_with_shuffled(trial: Trial, method: str, maps: np.ndarray, depth: float) -> np.ndarray:
    """Return the similarity of each map to that of a shuffled network, another one for each object."""
    others, rows, _ = maps_of_shuffled(
        trial.explained, trial.inputs, method, options=trial.options, orientations=trial.orientations,
        fixed=trial.fixed, n_shuffles=len(maps), depth=depth,
    )  # fmt: skip
    return map_similarity(maps[rows], others)


def perturb(trial: Trial, maps: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the truth and the predictions say of the maps of each object."""
    explained, inputs, fixed = trial.explained, trial.inputs, trial.fixed
    return {
        "deletion_curve": deletion(explained, inputs, maps, fixed=fixed),
        "insertion_curve": insertion(explained, inputs, maps, fixed=fixed),
        "inside": energy_inside(maps, trial.masks),
        "positive": positive_inside(maps, trial.masks),
    }


def summarize(numbers: dict[str, dict], maps: dict[str, np.ndarray], masks: np.ndarray) -> dict[str, dict]:
    """Return value and bootstrap error of each column, by method."""
    table: dict[str, dict] = {}
    area, random = area_share(masks), numbers["random"]
    for name, found in numbers.items():
        row = {
            key: bootstrap(np.nanmean, found[key])
            for key in ("similarity", "similarity_top", "stability", "flip")
            if key in found and np.isfinite(found[key]).any()
        }
        n = len(found["inside"])
        row["n_objects"] = (n, np.nan)
        for key in ("deletion", "insertion"):
            curves = found[f"{key}_curve"].mean(1), random[f"{key}_curve"][:n].mean(1)
            row[key] = bootstrap(lambda own, other: own.mean() / other.mean(), *curves)
        if np.isfinite(area[:n]).any():
            row["localisation"] = bootstrap(
                lambda inside, share: np.nanmean(inside) / np.nanmean(share), found["inside"], area[:n]
            )
            rival = numbers["brightest"]["positive"][:n]
            row["positive"] = bootstrap(
                lambda inside, other: np.nanmean(inside) / np.nanmean(other), found["positive"], rival
            )
        others = [other for other in maps if other not in (name, *RIVALS)]
        if name not in RIVALS and others:
            m = min(len(each) for each in maps.values())  # those that all methods have seen
            each = np.array([rank_correlation(maps[name][:m], maps[other][:m]) for other in others])
            if np.isfinite(each).any():
                row["agreement"] = bootstrap(np.nanmean, np.nanmean(each[np.isfinite(each).any(1)], axis=0))
        if "residual" in found and np.isfinite(found["residual"]).any():
            row["residual"] = bootstrap(lambda residual: np.nanquantile(residual, 0.95), found["residual"])
            row["complete"] = bootstrap(lambda residual: np.mean(residual < COMPLETE), found["residual"])
        table[name] = row
    return table


def write(table: dict[str, dict]) -> str:
    rows = []
    for name, row in table.items():
        title = METHODS[name].title if name in METHODS else name
        failed = " (fails)" if row.get("similarity", (0, 0))[0] >= FAILS_ABOVE else ""
        cells = []
        for key, (_, digits) in COLUMNS.items():
            value, error = row.get(key, (np.nan, np.nan))
            text = "" if not np.isfinite(value) else f"{value:.{digits}f}"
            cells.append(f"{text} ± {error:.{digits}f}" if text and np.isfinite(error) else text)
        rows.append([title + failed, *cells])
    return study.table(["method", *(title for title, _ in COLUMNS.values())], rows)


def choose(model: Model, target: str, store: Reader, n_objects: int, subset: str) -> np.ndarray:
    """Return objects of a subset in random order: for outliers half of them odd if there are so many, for the logit of
    mergers true mergers.
    """
    known = np.random.default_rng(0).permutation(find_objects(model, store, None, len(store), subset))
    if model.task.name == "outliers":
        odd = store.column("oddity", known).astype(str) != ""
        first = known[odd][: n_objects // 2]
        return np.random.default_rng(1).permutation(np.concatenate([first, known[~odd][: n_objects - len(first)]]))
    if target.endswith("_merger"):
        known = known[store.column("class", known).astype(str) == "merger"]
    return known[:n_objects]


def score(method: str, row: dict[str, tuple[float, float]], target: str) -> float:
    """Return the geometric mean of deletion, inverse insertion and localisation, by which a default is chosen.

    Localisation is that of the positive part where the truth raises the number (a bulge B/T, a clump its logit, an
    oddity the score), else that of the modulus. NaN for rivals, methods that change the derivative of the network, and
    those that do not pass the test with shuffled weights by two standard errors.
    """
    value, error = row.get("similarity", (np.nan, np.nan))
    if method in CHANGED_DERIVATIVE or not value + 2 * error < FAILS_ABOVE:
        return float("nan")
    key = "localisation" if target in UNSIGNED else "positive"
    factors = [row["deletion"][0], 1 / row["insertion"][0], row.get(key, (1.0, 0.0))[0]]
    return float(np.exp(np.mean(np.log(np.maximum(factors, 1e-3)))))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--target")
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--few", type=int, default=16, help="objects for shuffled weights, other noise and flips")
    parser.add_argument("--split", default="test", help="test, or validation for the choice of a default")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--costly", nargs="+", default=["occlusion"], help="methods that explain some objects alone")
    parser.add_argument("--costly-objects", type=int, default=64, help="number of these objects")
    parser.add_argument("--without", nargs="+", default=[], help="methods to leave out")
    parser.add_argument("--record", action="store_true", help="copy the table into docs/explain.md")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    model = load_model(args.model, device="cpu")
    explained = find_quantity(model, args.target)
    target = explained.quantity.name
    with open_store(args.store) as store:
        rows = choose(model, target, store, args.objects, args.split)
        inputs = prepare_inputs(model, model.task.read(store, rows))
        masks, ids = read_masks(model, target, store, rows), store.object_id[rows].astype(str)
    options = Options(draws=args.draws)
    trial = Trial(explained, inputs, explained.fix(inputs), masks, options, n_orientations(model.task), args.few)
    maps = {"brightest": brightness(inputs), "random": np.random.default_rng(0).standard_normal(inputs.image.shape)}
    numbers = {name: perturb(trial, rival) for name, rival in maps.items()}
    for method in allowed(explained):
        if method not in args.without:
            some = trial.first(args.costly_objects) if method in args.costly else trial
            numbers[method], maps[method] = judge(some, method)
            print(method, flush=True)
    table = summarize(numbers, maps, masks)
    for method, row in table.items():
        row["score"] = (score(method, row, target), np.nan)
    name = f"explain-{model.task.name}-{target}{'' if args.split == 'test' else f'-{args.split}'}"
    failed = [method for method, row in table.items() if row.get("similarity", (0, 0))[0] >= FAILS_ABOVE]
    curves = {method: found["deletion_curve"] for method, found in numbers.items()}
    heading = (
        f"{model.task.name}: {target.replace('_', ' ')} when pixels are replaced, {len(rows)} {args.split} objects"
    )
    study.PAGES.mkdir(exist_ok=True)
    save(
        deletion_curves(FRACTIONS, curves, unit=explained.quantity.unit, heading=heading, failed=failed),
        study.PAGES / f"{name}.png",
    )
    np.savez_compressed(
        study.PAGES / f"{name}.npz",
        object_id=ids,
        **{f"{method}:{key}": values for method, found in numbers.items() for key, values in found.items()},
    )
    write_json(
        study.PAGES / f"{name}.json", {"n_objects": len(rows), "target": target, "split": args.split, "table": table}
    )
    n_true = int(masks.any((1, 2)).sum())
    known = f", which cover {np.nanmean(area_share(masks)):.3f} of the area" if n_true else ""
    n_residual = max((len(np.atleast_1d(found.get("residual", []))) for found in numbers.values()), default=0)
    caption = (
        f"{len(rows)} {args.split} objects, {n_true} of them with pixels of known truth{known}; similarity, other "
        f"noise and flips on {min(args.few, len(rows))}{f', the residual on {n_residual}' if n_residual else ''}."
    )
    text = f"{write(table)}\n\n{caption}"
    write_text(study.PAGES / f"{name}.md", text + "\n")
    print(text)
    if args.record:
        copy_to_docs.main(str(DOCS), f"explain.md={name}")


if __name__ == "__main__":
    main()
