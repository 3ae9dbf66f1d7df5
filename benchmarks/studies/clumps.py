"""Study of docs/tasks/segmentation.md: clumps, bulge and disk on simulated galaxies, beside fits and limits.

    python benchmarks/studies/clumps.py FOLDER

keeps everything in FOLDER and continues there after a kill; `--record` copies tables and figures into docs/. Five
networks are trained, and some test galaxies fitted with a Sersic bulge and an exponential disk. About an hour of CPU
time; `--tiny` tries it in minutes, and its numbers mean nothing.
"""

import argparse
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import clump_limits
import copy_to_docs
import numpy as np
import study
import torch
from clump_aims import tabulate_aims
from clump_coverage import compare_calibrations
from clump_runs import TINY, Plan, Study
from figures import free_response_curves
from threadpoolctl import threadpool_limits

from astrodl.atomic import write_text
from astrodl.metrics.clumps import free_response, match_positions
from astrodl.photometry.clumps import Clumps, find_peaks
from astrodl.plots.style import wilson_interval
from astrodl.store import open_store
from astrodl.tasks.segmentation.clumps import MATCH_PIXELS, listed, measure_block
from astrodl.tasks.segmentation.ratio import is_open
from astrodl.tasks.segmentation.scoring import BRIGHT_CONTRAST, BRIGHT_SNR, match

DOCS = Path(__file__).resolve().parents[2] / "docs"
METHODS = {"residual_forest": "forest", "dog_boosting": "gradient boosting"}
FITS = {"one": "profile fit, one band", "all": "profile fit, all bands"}
RATIOS = [0, 0.05, 0.3, 0.6, 0.995, 1.01]
RINGS = [0, 2, 4, 7, 12, 25]
DISTANCES = [0, 0.5, 1, 2, np.inf]


def share(hits: np.ndarray) -> str:
    """Write a fraction with its 68 % binomial interval."""
    if not len(hits):
        return ""
    low, high = (float(end) for end in wilson_interval(hits.sum(), len(hits)))
    return f"{hits.mean():.2f} ({low:.2f} to {high:.2f})"


class Tables(Study):
    """The tables and figures of the study."""

    def page(self) -> str:
        """Write all tables and figures."""
        plan = self.plan
        parts = [
            f"{plan.n_objects:,} simulated galaxies (`candels`), {len(self.rows):,} of the test split, {plan.epochs} "
            f"epochs in batches of 16; mean and standard deviation over {len(plan.seeds)} seeds. Written by `python "
            f"benchmarks/studies/clumps.py FOLDER --seeds {len(plan.seeds)} --record`.",
            self.headline(),
            self.aims(),
            self.ratios(),
            self.limits_of_ratio(),
            self.coverage(),
            self.profiles(),
            self.detection(),
            self.measurement(),
            self.limits_of_detection(),
            study.show("Free response of clumps", "segmentation-free-response.png", self.curves()),
        ]
        return "\n\n".join(parts)

    def headline(self) -> str:
        """Tabulate all metrics."""
        runs = [study.values_of(json.loads(str(one["scores"]))) for one in self.predicted]
        ensemble = study.values_of(json.loads(str(np.load("predicted.npz")["scores"])))
        rivals = {name: study.values_of(json.loads(str(one["scores"]))) for name, one in self.baselines.items()}
        rows = [
            [
                f"`{metric}`",
                study.mean_and_spread([run[metric] for run in runs], 3),
                f"{ensemble[metric]:.3f}",
                *(f"{rival[metric]:.3f}" if metric in rival else "–" for rival in rivals.values()),
            ]
            for metric in runs[0]
        ]
        return study.table(
            ["metric", "network", "mean of the networks", *(name.replace("_", " ") for name in rivals)], rows
        )

    def aims(self) -> str:
        """Tabulate what was asked and missed."""
        truth = self.truth["bt"]
        with open_store("store.h5") as store:
            magnitude, snr = store.column("magnitude", self.rows), store.features(["snr"], self.rows)[:, 0]
        bins = np.digitize(magnitude, np.quantile(magnitude, [0.25, 0.5, 0.75]))
        covered = []
        for one in self.predicted:
            inside = (one["bt_low68"] <= truth) & (truth <= one["bt_high68"])
            covered.append([inside[is_open(one) & (bins == number)].mean() for number in range(4)])
        coverage = np.mean(covered, axis=0)
        worst = float(coverage[np.argmax(np.abs(coverage - 0.6827))])
        return tabulate_aims(self.predicted, truth, snr, self.fits, worst)

    def ratios(self) -> str:
        """Tabulate the error of the ratio in bins: network, classical methods, fit."""
        truth = self.truth["bt"]
        with open_store("store.h5") as store:
            by = {
                "all": np.zeros(len(truth)),
                "magnitude": store.column("magnitude", self.rows),
                "S/N": store.features(["snr"], self.rows)[:, 0],
                "radius (arcsec)": store.column("radius_arcsec", self.rows),
                "inclination (deg)": store.column("inclination", self.rows),
                "z": store.column("z", self.rows),
            }
        rows = []
        for name, values in by.items():
            edges = np.unique(np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1])) if name != "all" else np.array([0, 1])
            limits = [*pairwise(edges), *([(50, np.inf)] if name == "S/N" else [])]
            for low, high in limits:
                chosen = (values >= low) & ((values < high) | (high == edges[-1]))
                place = f"{low:.3g} to {high:.3g}" if np.isfinite(high) else f"above {low:g}"
                rows.append([name, place if name != "all" else "", str(chosen.sum())])
                rows[-1] += self.ratio_cells(truth, chosen)
        head = ["quantity", "bin", "galaxies", "network", *METHODS.values(), *FITS.values(), "coverage"]
        about = (
            f"Bulge-to-total ratio: RMSE, share within 0.1. The fits are of {len(self.fitted)} of the test galaxies, "
            "drawn again without neighbours, with the true point-spread function, and start at the true shapes. Last: "
            "share of the galaxies within the network's 68 % interval."
        )
        return about + "\n\n" + study.table(head, rows)

    def ratio_cells(self, truth: np.ndarray, chosen: np.ndarray) -> list[str]:
        """Write the errors of all methods for some galaxies."""
        errors = [(one["bt"] - truth)[chosen] for one in self.predicted]
        cells = [
            study.mean_and_spread([float(np.sqrt(np.mean(e**2))) for e in errors], 3)
            + ", "
            + study.mean_and_spread([float(np.mean(np.abs(e) < 0.1)) for e in errors], 2)
        ]
        some = chosen[self.fitted]
        others = [self.baselines[name]["bt"][chosen] - truth[chosen] for name in METHODS]
        others += [(self.fits[name] - self.fits["truth"])[some] for name in FITS]
        cells += [f"{np.sqrt(np.mean(e**2)):.3f}, {np.mean(np.abs(e) < 0.1):.2f}" if len(e) else "" for e in others]
        inside = [(one["bt_low68"] <= truth) & (truth <= one["bt_high68"]) for one in self.predicted]
        covered = [hits[chosen & is_open(one)].mean() for one, hits in zip(self.predicted, inside, strict=True)]
        return [*cells, study.mean_and_spread([float(value) for value in covered], 3)]

    def coverage(self) -> str:
        """Tabulate the coverage of other calibrations of the interval."""
        known = np.load("validation.npz")
        with open_store("store.h5") as store:
            magnitude = store.column("magnitude", self.rows)
        bins = np.load(f"raw{self.plan.seeds[0]}.npz")["bt_bins"].astype(np.float64)
        return compare_calibrations(
            (known["bt_bins"], known["bt"], known["magnitude"]), (bins, self.truth["bt"], magnitude)
        )

    def limits_of_ratio(self) -> str:
        """Tabulate what could be known of the ratio, and the times."""
        one_view, together, true = np.load("one_view.npz"), np.load("predicted.npz"), self.truth["bt"][self.fitted]
        errors = {
            "network, first seed": self.predicted[0]["bt"][self.fitted] - true,
            "network, first seed, one view": one_view["bt"] - true,
            "mean of the networks": together["bt"][self.fitted] - true,
            **{FITS[name]: self.fits[name] - self.fits["truth"] for name in FITS},
            **{
                f"{FITS[name]}, of galaxies that are nothing but a Sersic bulge and an exponential disk": self.fits[
                    f"twin_{name}"
                ]
                - self.fits["twin_truth"]
                for name in FITS
            },
            "linear fit, one band, the true images of the components known": self.fits["templates"]
            - self.fits["truth"],
        }
        rows = [
            [name, f"{np.sqrt(np.mean(e**2)):.3f}", share(np.abs(e) < 0.1), f"{np.mean(e):+.3f}"]
            for name, e in errors.items()
        ]
        seconds = float(np.mean([one["seconds"] for one in self.predicted]))
        times = ", ".join(f"{self.fits[f'{name}_seconds'].mean():.3f} s ({label})" for name, label in FITS.items())
        fitted_shape = self.single_shapes()
        return (
            f"The same {len(self.fitted)} galaxies, and what the images could tell:\n\n"
            + study.table(["method", "RMSE", "within 0.1", "bias"], rows)
            + f"\n\nCPU time per galaxy: network {seconds:.4f} s for maps, clumps and ratio from eight views, "
            f"{float(one_view['seconds']):.4f} s from one; "
            f"{times}, in Fourier space, for the ratio alone. {fitted_shape}"
        )

    def single_shapes(self) -> str:
        """Write the errors of radius and index of a fit with one Sersic profile beside those of the network."""
        words = []
        for name, label in (("radius", "half-light radius"), ("sersic_index", "Sersic index")):
            true = self.truth[f"true_{name}"][self.fitted]
            networks = [np.log(one[name][self.fitted] / true) for one in self.predicted]
            fit = np.log(self.fits[f"single_{name}"] / true)
            scatter = study.mean_and_spread([_mad(error) for error in networks], 3)
            words.append(f"{label}: network {scatter}, fit of one Sersic profile {_mad(fit):.3f}")
        return "Robust scatter of the logarithm of the " + "; ".join(words) + "."

    def profiles(self) -> str:
        """Tabulate the mean share of the bulge in rings, true and predicted."""
        every = [np.load(f"raw{seed}.npz")["bulge_fraction"].astype(np.float32) for seed in self.plan.seeds]
        maps = np.mean(every, axis=0)
        truth, weight = self.truth["bulge_fraction"], self.truth["weight"]
        axis = np.arange(weight.shape[-1]) - (weight.shape[-1] - 1) / 2
        radius, rows = np.hypot(axis[:, None], axis), []
        for low, high in pairwise(RATIOS):
            chosen = (self.truth["bt"] >= low) & (self.truth["bt"] < high)
            row = [f"{low:g} to {min(high, 1):g}", str(chosen.sum())]
            for inner, outer in pairwise(RINGS):
                ring = (radius >= inner) & (radius < outer)
                light = weight[chosen][:, ring]
                pair = (np.average(one[chosen][:, ring], weights=light) for one in (truth, maps))
                row.append(", ".join(f"{value:.2f}" for value in pair))
            rows.append(row)
        head = ["true B/T", "galaxies", *(f"{inner} to {outer} pixels" for inner, outer in pairwise(RINGS))]
        about = "Radial profiles: share of the bulge in the light of rings, true and predicted (mean of the seeds)."
        return about + "\n\n" + study.table(head, rows)

    def detection(self) -> str:
        """Tabulate the completeness of clumps, and the purity, in bins."""
        with open_store("store.h5") as store:
            radius = store.column("radius_arcsec", self.rows) / (store.pixel_scale_arcsec or 1.0)
            z = store.column("z", self.rows)
        matched = [match(one, self.truth) for one in self.predicted]
        rows = matched[0][0]
        image, found = rows[:, 6].astype(int), [of_truth >= 0 for _, of_truth, *_ in matched]
        middle = (self.truth["mask"].shape[-1] - 1) / 2
        distance = np.hypot(rows[:, 0] - middle, rows[:, 1] - middle) / radius[image]
        by = {
            "S/N": (rows[:, 2], [0, 3, 5, 10, 20, np.inf]),
            "share of the galaxy's flux": (rows[:, 4], [0, 0.01, 0.03, 0.08, np.inf]),
            "distance (half-light radii)": (distance, DISTANCES),
            "z": (z[image], np.quantile(z[image], [0, 0.25, 0.5, 0.75, 1]).round(2).tolist()),
        }
        detectable = rows[:, 5] > 0
        pure = {"distance (half-light radii)": lambda f: np.hypot(f.y - middle, f.x - middle) / radius[f.image]}
        pure["z"] = lambda f: z[f.image]
        lines = []
        for name, (values, edges) in by.items():
            for low, high in pairwise(edges):
                chosen = detectable & (values >= low) & (values < high)
                line = [name, f"{low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}", str(chosen.sum())]
                line.append(share(np.mean([hits[chosen] for hits in found], axis=0)))
                line.append(self.purity(matched, pure[name], low, high) if name in pure else "")
                lines.append(line)
        about = (
            "Clumps as objects, mean of the seeds, with binomial intervals of 68 %: completeness of the detectable "
            "ones at the threshold for a purity of 0.85 on the validation split, and purity of those found."
        )
        return about + "\n\n" + study.table(["quantity", "bin", "clumps", "completeness", "purity"], lines)

    def measurement(self) -> str:
        """Write the errors of positions, fluxes and numbers of the clumps that the first network finds."""
        predicted = self.predicted[0]
        rows, of_truth, found, _ = match(predicted, self.truth)
        with open_store("store.h5") as store:
            names = np.array(self.identifiers)
            measured = measure_block(self.model.task, store, self.rows, names, predicted)
        hits = (of_truth >= 0) & (rows[:, 5] > 0)
        own = of_truth[hits]
        offset = np.hypot(found.y[own] - rows[hits, 0], found.x[own] - rows[hits, 1])
        difference = np.log10(np.maximum(measured.flux[own, self.reference], 1e-9) / rows[hits, 3])
        pull = (measured.flux[own, self.reference] - rows[hits, 3]) / measured.error[own, self.reference]
        number = np.bincount(rows[rows[:, 5] > 0, 6].astype(int), minlength=len(self.rows))
        excess = predicted["n_clumps"] - number
        return (
            f"The {hits.sum()} detectable clumps that the first network finds: median distance from the true position "
            f"{np.median(offset):.2f} pixels (90 % within {np.quantile(offset, 0.9):.2f}); flux in the reference band "
            f"{np.median(difference):+.3f} dex, with a robust scatter of {_mad(difference):.3f} dex, "
            f"{np.mean(np.abs(pull) < 1):.2f} within the error. Number per galaxy: {excess.mean():+.2f} ± "
            f"{excess.std():.2f} ({number.mean():.2f} are detectable)."
        )

    def purity(self, matched: list[Any], measure: Any, low: float, high: float) -> str:
        """Write the purity of the predicted clumps in a bin."""
        hits, number = [], 0.0
        for *_, found, of_found in matched:
            values = measure(found)
            hits.append((of_found >= 0)[(values >= low) & (values < high)])
            number += len(hits[-1]) / len(matched)
        # the networks see the same galaxies: the interval is that of one of them
        return share(np.full(max(1, round(number)), np.concatenate(hits).mean()))

    def limits_of_detection(self) -> str:
        """Write what could be known of the clumps."""
        limits = clump_limits.Limits(**study.read_json("limits.json"))
        rows = [
            ["in the mask", str(limits.n_clumps), f"{limits.known:.2f}", f"{limits.local:.2f}"],
            ["bright", str(limits.n_bright), f"{limits.bright_known:.2f}", f"{limits.bright_local:.2f}"],
        ]
        head = [
            "clumps",
            "number",
            "above 5 σ, all other light known",
            "above 5 σ over a background with slope and curvature",
        ]
        reached = (
            f"by significance alone, {limits.completeness:.2f} of the bright clumps can be had at a purity of 0.85"
            if limits.completeness
            else "by significance alone, no set of clumps has a purity of 0.85"
        )
        return (
            "What the images could tell of clumps, with the true positions and without neighbours:\n\n"
            + study.table(head, rows)
            + f"\n\nFor each bright clump, {limits.mimics:.2f} peaks of the smooth light off the centre (second "
            f"nuclei, ends of bars, rings) are as significant: {reached}. If all light but that of the clumps were "
            f"known, the best threshold on their noisy light would have a Dice coefficient of {limits.dice:.2f}."
        )

    def curves(self) -> Any:
        """Draw completeness of bright and of all detectable clumps against purity, with the tuned finders."""
        rows = match(self.predicted[0], self.truth)[0]
        bright = (rows[:, 5] > 0) & (rows[:, 2] >= BRIGHT_SNR) & (rows[:, 4] >= BRIGHT_CONTRAST)
        peaks = {"network": [self.peaks(seed) for seed in self.plan.seeds]}
        for name, one in self.baselines.items():
            values = [one[f"clump_{key}"] for key in ("y", "x", "probability")]
            peaks[name.split("_")[0].replace("dog", "difference of Gaussians")] = [listed(*values)]
        lines: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for name, runs in peaks.items():
            for found in runs:
                positions = np.column_stack([found.y, found.x])
                _, own = match_positions(rows[:, 6], rows[:, :2], found.image, positions, MATCH_PIXELS)
                finds = np.where(own >= 0, bright[own], False)
                _, completeness, purity = free_response(found.value, own >= 0, finds, int(bright.sum()))
                lines.setdefault(name, []).append((purity[50:], completeness[50:]))
        return free_response_curves(lines)

    def peaks(self, seed: int) -> Clumps:
        """Return the peaks of a network's map of centres, below its threshold, too."""
        return find_peaks(np.load(f"raw{seed}.npz")["centre"].astype(np.float32), 0.02, 1.5)


def _mad(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the study")
    parser.add_argument("--record", action="store_true", help="copy tables and figures into docs/")
    parser.add_argument("--seeds", type=int, default=5, help="number of networks (default: 5)")
    parser.add_argument("--tiny", action="store_true", help="try the study in minutes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)  # of BLAS, whose waiting threads would count as CPU time of the fits
    options.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.folder)
    plan = TINY if options.tiny else Plan(seeds=tuple(range(options.seeds)))
    if Path("predicted.npz").exists() and int(np.load("predicted.npz")["n"]) != len(plan.seeds):
        Path("predicted.npz").unlink()  # the mean of fewer networks
    whole = Tables(plan)
    whole.run()
    study.PAGES.mkdir(exist_ok=True)
    write_text(study.PAGES / "segmentation.md", whole.page() + "\n")
    if options.record:
        copy_to_docs.main(str(DOCS), "tasks/segmentation.md=segmentation")


if __name__ == "__main__":
    main()
