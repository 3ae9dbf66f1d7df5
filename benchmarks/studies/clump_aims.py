"""Aims of the study of clumps, bulge and disk: what is reached, what the images allow, and what was tried."""

import json
from collections.abc import Callable
from typing import Any

import clump_limits
import numpy as np
import study

from astrodl.tasks.base import Arrays

__all__ = ["tabulate_aims"]

TRIED = {
    "Dice": "three times as many updates, wider maps, outputs that see the pixels (all kept); mean of networks; other "
    "balances of the losses",
    "clumps": "more updates and wider maps (kept); mean of networks; cuts in measured flux and S/N after a lower "
    "threshold",
    "ratio": "more updates (kept); wider maps; mean of networks; median instead of mean",
    "coverage": "one width, one per bin, linear and quadratic in magnitude (below)",
    "time": "half the resolution inside, bfloat16 (both kept); fewer views (`views`: 1 reaches it)",
}


def tabulate_aims(
    predicted: list[Arrays], truth: np.ndarray, snr: np.ndarray, fits: Arrays, worst_coverage: float
) -> str:
    """Tabulate each aim with what was reached.

    Parameters
    ----------
    predicted
        Predictions and scores of the networks.
    truth, snr
        Ratio and signal-to-noise ratio of the test galaxies, (n,).
    fits
        Results of the profile fits.
    worst_coverage
        Of the bins of magnitude, that farthest from 68 %, mean of the networks.
    """
    scores = [study.values_of(json.loads(str(one["scores"]))) for one in predicted]
    limits = clump_limits.Limits(**study.read_json("limits.json"))
    twins = {name: np.sqrt(np.mean((fits[f"twin_{name}"] - fits["twin_truth"]) ** 2)) for name in ("one", "all")}

    def over_seeds(value: Callable[[Arrays], float]) -> str:
        return study.mean_and_spread([value(one) for one in predicted], 3)

    def metric(name: str) -> str:
        return study.mean_and_spread([one[name] for one in scores], 3)

    def rmse(one: Arrays) -> float:
        return float(np.sqrt(np.mean((one["bt"] - truth)[snr > 50] ** 2)))

    seconds = float(np.mean([one["seconds"] for one in predicted]))
    fit = float(fits["all_seconds"].mean())
    one_view = float(np.load("one_view.npz")["seconds"])
    model = (
        f"a fit of the exact model from the truth, galaxies of nothing else: {twins['one']:.3f} in one band, "
        f"{twins['all']:.3f} in all"
    )
    rows: list[list[Any]] = [
        ["Dice", "0.65", metric("clump_dice"), f"{limits.dice:.2f} with all other light known", TRIED["Dice"]],
        [
            "completeness of bright clumps at a purity of 0.85",
            "0.85",
            metric("bright_completeness"),
            f"{limits.bright_known:.2f} exceed 5 σ with all other light known, {limits.bright_local:.2f} over a fitted "
            f"background; {limits.mimics:.2f} mimics for each",
            TRIED["clumps"],
        ],
        ["RMSE of the ratio", "0.10", metric("bt_rmse"), model, TRIED["ratio"]],
        ["the same, S/N above 50", "0.07", over_seeds(rmse), "as above", TRIED["ratio"]],
        ["share within 0.1", "0.80", metric("bt_within_01"), "as above", TRIED["ratio"]],
        ["coverage, worst bin of magnitude", "0.64 to 0.72", f"{worst_coverage:.3f}", "below", TRIED["coverage"]],
        [
            "time of the fit in all bands over that of the network",
            "50",
            f"{fit / seconds:.0f} (one view: {fit / one_view:.0f})",
            "",
            TRIED["time"],
        ],
    ]
    missed = "Aims that are missed, on test galaxies; what was kept was chosen on validation galaxies."
    return missed + "\n\n" + study.table(["aim", "asked", "reached", "limit", "tried"], rows)
