"""Which band a redshift comes from, against the band that holds the 4000 angstrom break.

python explanation_bands.py MODEL STORE --limits 3500-4900 4700-7200 6900-8600 8000-10500 11000-17000 --record
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import copy_to_docs
import numpy as np
import study
import torch

from astrodl import load_model, open_store
from astrodl.atomic import write_text
from astrodl.explanation.methods import Options, attribute
from astrodl.explanation.shares import band_share, break_wavelength
from astrodl.explanation.trust import FAILS_ABOVE, map_similarity, maps_of_shuffled
from astrodl.metrics.bootstrap import bootstrap
from astrodl.metrics.latent import spearman
from astrodl.pipeline.explain import find_objects
from astrodl.plots.explanation import band_share_curve
from astrodl.plots.style import save
from astrodl.tasks.explained import find_quantity, n_orientations, prepare_inputs

METHODS = ("input_x_gradient", "smooth_gradient", "gradient_shap", "band_ablation")
SHUFFLED = "input_x_gradient"
"""Method whose shares are compared with those of networks with shuffled weights."""
N_RANDOMIZED = 16
"""Objects on which maps are compared with those of networks with shuffled weights."""
DOCS = Path(__file__).parents[2] / "docs"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--limits", nargs="+", required=True, help="wavelengths in angstrom between which a band sees")
    parser.add_argument("--target", default="z_mean")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--split", default="test", help="test, or validation for the choice of a method")
    parser.add_argument("--record", action="store_true", help="copy table and figure into docs/explain.md")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    model = load_model(args.model, device="cpu")
    explained = find_quantity(model, args.target)
    limits = np.array([[float(end) for end in pair.split("-")] for pair in args.limits])
    with open_store(args.store) as store:
        rows = find_objects(model, store, None, args.objects, args.split)
        z = store.column(model.task.settings.target, rows)
        inputs = prepare_inputs(model, model.task.read(store, rows))
    place = (break_wavelength(z)[:, None] - limits.mean(1)) / (limits.mean(1)[-1] - limits.mean(1)[0])
    holds = np.abs(place).argmin(1)  # the band whose middle is nearest to the break
    shares, lines, failed = {}, [], []
    few = inputs.rows(slice(0, N_RANDOMIZED))
    for method in args.methods:
        options = Options(draws=1, steps=args.steps)
        maps = attribute(explained, inputs, method, options=options, orientations=n_orientations(model.task)).maps
        if method == "band_ablation":
            effect = np.abs(maps.sum((2, 3)))
            shares[method] = effect / effect.sum(1, keepdims=True)
        else:
            shares[method] = band_share(maps)
            others, order, _ = maps_of_shuffled(
                explained, few, method, options=options, orientations=n_orientations(model.task)
            )
            if np.nanmean(map_similarity(maps[order], others)) >= FAILS_ABOVE:
                failed.append(method)
        lines.append([method.replace("_", " "), *compare(shares[method], holds)])
    options, orientations = Options(draws=1), n_orientations(model.task)
    maps, order, _ = maps_of_shuffled(explained, inputs, SHUFFLED, options=options, orientations=orientations)
    lines.append([f"{SHUFFLED.replace('_', ' ')}, shuffled weights", *compare(band_share(maps), holds[order])])
    edges = limits / 4000 - 1
    heading = f"Band that {args.target} comes from, {len(rows)} {args.split} galaxies"
    study.PAGES.mkdir(exist_ok=True)
    name = f"explain-bands-{args.target}{'' if args.split == 'test' else f'-{args.split}'}"
    save(band_share_curve(z, shares, model.bands, edges, heading=heading, failed=failed), study.PAGES / f"{name}.png")
    text = study.table(
        ["method", "rank correlation of mean band and band of the break", "band of the break is largest"], lines
    )
    text = f"{text}\n\n{len(rows)} {args.split} galaxies.\n\n![Share of each band](images/{name}.png)"
    write_text(study.PAGES / f"{name}.md", text + "\n")
    print(text)
    if args.record:
        copy_to_docs.main(str(DOCS), f"explain.md={name}")


def compare(share: np.ndarray, holds: np.ndarray) -> list[str]:
    """Return rank correlation with the band of the break, and how often that band is the largest, with errors."""
    correlation = bootstrap(spearman, share @ np.arange(share.shape[1]), holds)
    most = bootstrap(lambda each, band: np.mean(each.argmax(1) == band), share, holds)
    return [f"{value:.2f} ± {error:.2f}" for value, error in (correlation, most)]


if __name__ == "__main__":
    main()
