"""Which band a redshift comes from, against the band that holds the 4000 angstrom break.

python explanation_bands.py MODEL STORE --limits 3500-4900 4700-7200 6900-8600 8000-10500 11000-17000 --out bands
"""

import argparse
from pathlib import Path

import numpy as np
import study
import torch

from astrodl import load_model, open_store
from astrodl.atomic import write_text
from astrodl.explanation.methods import Options, attribute
from astrodl.explanation.shares import band_share, break_wavelength
from astrodl.metrics.bootstrap import bootstrap
from astrodl.metrics.latent import spearman
from astrodl.pipeline.explain import find_objects
from astrodl.plots.explanation import band_share_curve
from astrodl.plots.style import save
from astrodl.tasks.explained import find_quantity, n_orientations, prepare_inputs

METHODS = ("integrated_gradients", "input_x_gradient", "band_ablation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--limits", nargs="+", required=True, help="wavelengths in angstrom between which a band sees")
    parser.add_argument("--target", default="z_mean")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--out", type=Path, required=True, help="table (.md) and figure (.png)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.model, device="cpu")
    explained = find_quantity(model, args.target)
    limits = np.array([[float(end) for end in pair.split("-")] for pair in args.limits])
    with open_store(args.store) as store:
        rows = find_objects(model, store, None, args.objects)
        z = store.column(model.task.settings.target, rows)
        inputs = prepare_inputs(model, model.task.read(store, rows))
    place = (break_wavelength(z)[:, None] - limits.mean(1)) / (limits.mean(1)[-1] - limits.mean(1)[0])
    holds = np.abs(place).argmin(1)  # the band whose middle is nearest to the break
    shares, lines = {}, []
    for method in args.methods:
        options = Options(draws=1, steps=args.steps)
        maps = attribute(explained, inputs, method, options=options, orientations=n_orientations(model.task)).maps
        if method == "band_ablation":
            effect = np.abs(maps.sum((2, 3)))
            shares[method] = effect / effect.sum(1, keepdims=True)
        else:
            shares[method] = band_share(maps)
        centre = shares[method] @ np.arange(len(limits))
        correlation = bootstrap(spearman, centre, holds)
        most = bootstrap(lambda share, band: np.mean(share.argmax(1) == band), shares[method], holds)
        lines.append([method, *(f"{value:.2f} ± {error:.2f}" for value, error in (correlation, most))])
    edges = limits / 4000 - 1
    heading = f"Band that {args.target} comes from, {len(rows)} test galaxies"
    save(band_share_curve(z, shares, model.bands, edges, heading=heading), args.out.with_suffix(".png"))
    text = study.table(
        ["method", "rank correlation of mean band and band of the break", "band of the break is largest"], lines
    )
    write_text(args.out.with_suffix(".md"), text + "\n")
    print(text)


if __name__ == "__main__":
    main()
