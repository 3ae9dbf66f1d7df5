"""Tables and figures of the study in docs/tasks/outliers.md; outliers.yaml lists the trainings."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import feedback
import numpy as np
import study
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from astrodl import open_store
from astrodl.metrics import outliers as metrics_of
from astrodl.metrics.bootstrap import bootstrap
from astrodl.photometry.artefacts import ARTEFACTS, find_artefacts
from astrodl.pipeline.page_columns import open_sources
from astrodl.plots.autoencoder import generated_sheet
from astrodl.plots.images import balance_bands, contact_sheet, lupton_rgb, order_screen_channels
from astrodl.plots.outliers import recall_by_kind
from astrodl.store import Reader
from astrodl.tasks.base import Arrays
from astrodl.tasks.colour import colour
from astrodl.tasks.outliers.health import draw_galaxies
from astrodl.tasks.outliers.report import N_TOP, choose_top
from astrodl.tasks.outliers.residual import standardize_residual
from astrodl.tasks.outliers.settings import DEFAULT_PARTS, PARTS, Part

Floats = NDArray[np.float64]
TEST = Path("surveys/main/test.h5")
runs_of = partial(study.read_runs, __file__)
METRICS = {
    "AUC": metrics_of.auc,
    "average precision": metrics_of.average_precision,
    "precision in top 1 %": lambda s, t: metrics_of.recall_top(s, t, 0.01) * t.sum() / max(1, round(0.01 * len(s))),
    "recall in top 1 %": lambda s, t: metrics_of.recall_top(s, t, 0.01),
    "precision in top 5 %": lambda s, t: metrics_of.recall_top(s, t, 0.05) * t.sum() / max(1, round(0.05 * len(s))),
    "recall in top 5 %": lambda s, t: metrics_of.recall_top(s, t, 0.05),
}
_WITHOUT_GAN: tuple[Part, ...] = tuple(part for part in DEFAULT_PARTS if part != "residual")
_NEIGHBOURS: tuple[Part, ...] = ("features", "structure", "features_density", "structure_density")
"""The score before the residual of the GAN was part of it."""
_WITH_GAN: tuple[Part, ...] = ("residual", *_NEIGHBOURS)
"""The score before the flow took the place of the distances."""
_OF_SEEDS = ("residual", "critic", "code", "code_density", "flow")
"""Parts that are others for each seed."""
_WITHOUT = "score without the GAN"
Scores = list[Floats]
"""Scores of the test objects, one array for each seed, or a single one where a seed changes nothing."""


def outliers() -> str:
    """Compare the score with the best rivals; say what each part adds, and where the score errs."""
    (found,) = runs_of("outliers").values()
    runs = [run for run in found if (run / "predictions.h5").exists()]
    predicted = [study.read_test(run, "main")[0] for run in runs]
    truth = study.read_test(runs[0], "main")[1]["oddity"]
    rivals = read_rivals("outliers")
    scores: dict[str, Scores] = {"score": _sums(predicted, DEFAULT_PARTS)}
    scores[_WITHOUT] = _sums(predicted, _WITHOUT_GAN)
    scores["GAN alone"] = _sums(predicted, ("residual",))
    is_odd = truth != ""
    about = (
        f"{study.count_training(runs[0], 'main'):,} training and {len(truth):,} test objects with {is_odd.sum()} "
        f"oddities, {len(runs)} seeds of the network. Bootstrap errors of the test objects; what a seed changes also "
        "has the standard deviation over seeds in brackets.\n"
    )
    parts = [about, headline({**scores, **{name: [values] for name, values in rivals.items()}}, is_odd)]
    parts += ["\n**Differences**, of the same objects and draws.\n", differences(scores, rivals, is_odd)]
    parts += ["\n**AUC of each kind**\n", by_kind(scores, rivals, truth)]
    parts += ["\n**What each part adds**\n", leave_one_out(predicted, is_odd)]
    with open_store(TEST) as store:
        parts += ["\n**Rank correlation of the score**\n", correlations(scores, rivals, store)]
        parts += ["\n**Labels**\n", labels(store, runs[0], scores["score"][0])]
        parts += ["\n**Artefact flag**\n", flags(store, truth)]
        parts += [gallery(store, runs[0], predicted[0], truth)]
    figure = recall_by_kind(scores["score"][0], truth, baselines=rivals)
    parts += [study.show("Recall of each kind in the top 5 %", "outliers-study-kinds.png", figure)]
    return "\n".join(parts)


def _sums(predicted: list[Arrays], parts: tuple[str, ...]) -> Scores:
    """Add up parts of the score, for each seed; only once where they are the same for all seeds."""
    sums = [np.stack([each[part] for part in parts]).astype(np.float64).sum(0) for each in predicted]
    return sums if any(part in parts for part in _OF_SEEDS) else sums[:1]


def read_rivals(part: str) -> dict[str, Floats]:
    """Read the scores of the classical methods, and of the variational autoencoder where it was fitted."""
    folder = Path(part, "default")
    report = study.read_json(folder / "baseline.json")["predictions"]
    found = {name.replace("_", " "): np.asarray(arrays["score"]) for name, arrays in report.items()}
    if (folder / "classical-seed0.json").exists():
        vae = study.read_json(folder / "classical-seed0.json")["predictions"]["vae"]
        found |= {"vae residual": np.asarray(vae["score"]), "vae knn": np.asarray(vae["knn"])}
    return found


def _entry(scores: Scores, is_odd: NDArray[np.bool_], metric: str, digits: int = 3) -> str:
    """Write the mean of a metric over seeds with its bootstrap error, and the spread over seeds."""
    values = [float(METRICS[metric](score, is_odd)) for score in scores]
    error = bootstrap(METRICS[metric], scores[0], is_odd, n_draws=200)[1]
    spread = f" ({np.std(values, ddof=1):.{digits}f})" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f} ± {error:.{digits}f}{spread}"


def headline(scores: dict[str, Scores], is_odd: NDArray[np.bool_]) -> str:
    """Write a row per method and a column per metric."""
    rows = ([name, *(_entry(values, is_odd, metric) for metric in METRICS)] for name, values in scores.items())
    return study.table(["method", *METRICS], rows)


def differences(scores: dict[str, Scores], rivals: dict[str, Floats], is_odd: NDArray[np.bool_]) -> str:
    """Write what the score gains on the best rival, and on itself without the GAN, with paired bootstrap errors."""
    rows = []
    for metric in ("AUC", "average precision"):
        statistic = METRICS[metric]
        best = max(rivals, key=lambda name: statistic(rivals[name], is_odd))
        plain, full, rival = scores[_WITHOUT], scores["score"], [rivals[best]]
        compared = {f"score minus {best}": (full, rival), f"score minus {_WITHOUT}": (full, plain)}
        compared[f"{_WITHOUT} minus {best}"] = (plain, rival)
        for name, (first, second) in compared.items():
            values = [_difference(statistic, *pair, is_odd) for pair in _pair(first, second)]
            error = _error_of_difference(statistic, first[:1], second[:1], is_odd)
            spread = f"{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            means = [np.mean([statistic(score, is_odd) for score in each]) for each in (first, second)]
            rows.append([metric, name, f"{np.mean(values):+.3f} ± {error:.3f}", spread, f"{means[0] / means[1]:.2f}"])
    return study.table(["metric", "difference", "mean and error", "deviation over seeds", "ratio"], rows)


def _difference(statistic: Callable[..., float], first: Floats, second: Floats, is_odd: NDArray[np.bool_]) -> float:
    return statistic(first, is_odd) - statistic(second, is_odd)


def _pair(first: Scores, second: Scores) -> list[tuple[Floats, Floats]]:
    """Pair the scores of each seed; one that a seed does not change goes with all of the other."""
    n = max(len(first), len(second))
    return [(first[k % len(first)], second[k % len(second)]) for k in range(n)]


def _error_of_difference(
    statistic: Callable[..., float], first: Scores, second: Scores, is_odd: NDArray[np.bool_]
) -> float:
    """Return the error of the difference by the paired bootstrap over objects, the largest over the seeds."""
    difference = partial(_difference, statistic)
    return max(bootstrap(difference, *pair, is_odd, n_draws=200)[1] for pair in _pair(first, second))


def decide(new: Scores, old: Scores, is_odd: NDArray[np.bool_]) -> tuple[str, bool]:
    """Return what changes from a score to another, and whether the new one becomes the default.

    It does if the mean AUC rises by more than its error, and the mean average precision does not fall by more than its
    error.
    """
    gains = {}
    for metric in ("AUC", "average precision"):
        values = [_difference(METRICS[metric], *pair, is_odd) for pair in _pair(new, old)]
        gains[metric] = (float(np.mean(values)), _error_of_difference(METRICS[metric], new, old, is_odd))
    (auc, auc_error), (precision, precision_error) = gains.values()
    text = (
        f"the AUC changes by {auc:+.4f} ± {auc_error:.4f} and the average precision by {precision:+.4f} ± "
        f"{precision_error:.4f}"
    )
    return text, auc > auc_error and precision > -precision_error


def by_kind(scores: dict[str, Scores], rivals: dict[str, Floats], truth: NDArray[np.str_]) -> str:
    """Write the AUC of each kind against ordinary objects, beside the rival that is best at it."""
    rows = []
    for kind in np.unique(truth[truth != ""]):
        chosen = (truth == kind) | (truth == "")
        is_odd = truth[chosen] != ""
        found = {name: metrics_of.auc(values[chosen], is_odd) for name, values in rivals.items()}
        best = max(found, key=lambda name: found[name])
        cells = [_entry([score[chosen] for score in values], is_odd, "AUC") for values in scores.values()]
        cells.append(f"{_entry([rivals[best][chosen]], is_odd, 'AUC')}, {best}")
        rows.append([kind.replace("_", " "), str(is_odd.sum()), *cells])
    return study.table(["kind", "n", *scores, "best rival of this kind"], rows)


def leave_one_out(predicted: list[Arrays], is_odd: NDArray[np.bool_], parts: Sequence[Part] = tuple(PARTS)) -> str:
    """Write what is left without each of some parts, or with it, if it is none of the default."""
    chosen: dict[str, tuple[str, ...]] = {"score": DEFAULT_PARTS}
    measured = [part for part in parts if part in predicted[0]]
    for part in measured:
        if part in DEFAULT_PARTS:
            chosen[f"without {PARTS[part]}"] = tuple(each for each in DEFAULT_PARTS if each != part)
        else:
            chosen[f"with {PARTS[part]}"] = (*DEFAULT_PARTS, part)
    chosen |= {f"{PARTS[part]} alone": (part,) for part in measured}
    kept = ("AUC", "average precision", "precision in top 1 %")
    rows = (
        [name, *(_entry(_sums(predicted, parts), is_odd, metric) for metric in kept)] for name, parts in chosen.items()
    )
    return study.table(["parts", *kept], rows)


def correlations(scores: dict[str, Scores], rivals: dict[str, Floats], store: Reader) -> str:
    """Write the rank correlation of scores with what they should not depend on."""
    measured = {name: store.features([name])[:, 0] for name in ("snr", "r50_arcsec")}
    against = {"S/N": measured["snr"], "half-light radius": measured["r50_arcsec"], "z": np.asarray(store.column("z"))}
    rows = []
    for name, values in (scores | {name: [score] for name, score in rivals.items()}).items():
        found = [
            [spearmanr(score, other, nan_policy="omit").statistic for score in values] for other in against.values()
        ]
        rows.append([name, *(study.mean_and_spread([float(each) for each in column], 2) for column in found)])
    return study.table(["method", *against], rows)


def _rank_correlation(first: Floats, second: Floats) -> float:
    return float(spearmanr(first, second, nan_policy="omit").statistic)


def labels(store: Reader, run: Path, score: Floats) -> str:
    """Write what labels of an oracle add, beside a random order."""
    wanted = store.column("oddity") != ""
    sources = open_sources(store, [run / "predictions.h5"])
    rows = [["random", *[f"{wanted.mean():.2f}"] * len(feedback.TOPS), "–", f"{1 / wanted.mean():.1f}"]]
    for row in feedback.measure(store, sources, wanted, score):
        precision = float(row[1].split(" ")[0])
        rows.append([*row, f"{1 / precision:.1f}" if precision else "–"])
    head = ["labels", *(f"precision in top {100 * top:g} %" for top in feedback.TOPS), "found while labelling"]
    return study.table([*head, "objects inspected per find in top 1 %"], rows)


def flags(store: Reader, truth: NDArray[np.str_]) -> str:
    """Write the share of objects with each artefact."""
    found = np.concatenate(
        [
            find_artefacts(store.images(rows), store.sky_sigma[rows])
            for rows in np.array_split(np.arange(len(store)), 40)
        ]
    )
    rows = []
    for kind in np.unique(truth):
        flag = found[truth == kind]
        shares = (f"{(flag & bit > 0).mean():.3f}" for bit in ARTEFACTS.values())
        rows.append([str(kind).replace("_", " ") or "ordinary", str(len(flag)), *shares])
    return study.table(["kind", "n", *ARTEFACTS], rows)


def gallery(store: Reader, run: Path, predicted: Arrays, truth: NDArray[np.str_]) -> str:
    """Draw the objects of highest score, each beside its residual image."""
    model, score = study.load(run), _sums([predicted], DEFAULT_PARTS)[0]
    top, _ = choose_top(store, np.arange(len(score)), score)
    inputs = {name: torch.from_numpy(array) for name, array in model.task.inputs(model.task.read(store, top)).items()}
    with torch.no_grad():
        decoded = model.network(inputs["image"]).float()
    stretch = model.task.context.normalization.stretch
    residual, _ = standardize_residual(inputs["image"], decoded, inputs["sky"], stretch)
    channels = order_screen_channels(store.bands)
    shown = (residual[:, channels].numpy() / 10 + 0.4).clip(0, 1)
    third = np.array_split(np.arange(len(channels)), 3)
    pictures = np.stack([shown[:, part].mean(1) for part in reversed(third)], axis=-1)
    reason = [max(DEFAULT_PARTS, key=lambda part: predicted[part][i]).replace("_", "\n") for i in top]
    kinds = [str(truth[i]).replace("_", "\n") for i in top]
    titles = [f"{rank + 1}: {score[i]:.1f}\n{reason[rank]}\n{kinds[rank]}".rstrip() for rank, i in enumerate(top)]
    both = np.stack([colour(store, top), pictures], axis=1).reshape(-1, *pictures.shape[1:])
    texts = [text for title in titles for text in (title, "residual")]
    figure = contact_sheet(both, texts, n_columns=10, heading=f"The {N_TOP} objects of highest score, and residuals")
    return study.show("Objects of highest score beside their residuals", "outliers-study-gallery.png", figure)


def _read_survey(name: str) -> tuple[list[Arrays], NDArray[np.str_], dict[str, Floats]]:
    """Read the predictions of each seed, the kinds of oddities, and the rivals' scores of a survey for a decision."""
    (runs,) = runs_of(name).values()
    truth = study.read_test(runs[0], name)[1]["oddity"]
    return [study.read_test(run, name)[0] for run in runs], truth, read_rivals(name)


def fresh() -> str:
    """Decide by a survey that nothing was chosen on whether the residual of the GAN is part of the default score."""
    predicted, truth, rivals = _read_survey("fresh")
    is_odd = truth != ""
    scores: dict[str, Scores] = {"score": _sums(predicted, _WITH_GAN), _WITHOUT: _sums(predicted, _NEIGHBOURS)}
    change, enters = decide(*scores.values(), is_odd)
    text = (
        f"{len(truth):,} objects with {is_odd.sum()} oddities, {len(predicted)} models. With the GAN {change}: its "
        f"residual {'is part' if enters else 'is not part'} of the score.\n"
    )
    rows = {**scores, **{name: [values] for name, values in rivals.items()}}
    parts = [text, headline(rows, is_odd), "\n**Differences**\n", differences(scores, rivals, is_odd)]
    parts += ["\n**AUC of each kind**\n", by_kind(scores, rivals, truth)]
    parts += ["\n**Other ways to add up the parts**\n", other_sums(predicted, rivals, truth)]
    with open_store("surveys/fresh/test.h5") as store:
        parts += ["\n**Rank correlation of the score**\n", correlations(scores, rivals, store)]
    return "\n".join(parts)


def second() -> str:
    """Decide by another survey whether the flow takes the place of the distances to neighbours in the score."""
    predicted, truth, rivals = _read_survey("second")
    is_odd = truth != ""
    scores: dict[str, Scores] = {"score": _sums(predicted, DEFAULT_PARTS), _WITHOUT: _sums(predicted, _WITHOUT_GAN)}
    former: dict[str, Scores] = {"score with distances in place of the flow": _sums(predicted, _WITH_GAN)}
    change, enters = decide(scores["score"], *former.values(), is_odd)
    text = (
        f"{len(truth):,} objects with {is_odd.sum()} oddities, {len(predicted)} models. With the flow {change}: it "
        f"{'takes' if enters else 'does not take'} the place of the distances.\n"
    )
    rows = {**scores, **former, **{name: [values] for name, values in rivals.items()}}
    parts = [text, headline(rows, is_odd), "\n**Differences**\n", differences(scores, rivals, is_odd)]
    parts += ["\n**AUC of each kind**\n", by_kind({**scores, **former}, rivals, truth)]
    with open_store("surveys/second/test.h5") as store:
        parts += ["\n**Rank correlation of the score**\n", correlations({**scores, **former}, rivals, store)]
    return "\n".join(parts)


def other_sums(predicted: list[Arrays], rivals: dict[str, Floats], truth: NDArray[np.str_]) -> str:
    """Write what other sums of parts, and parts of rivals, give for all oddities and for those that rivals find better.

    The surprise of a rival is taken among these objects, without their labels.
    """
    added = {}
    for name in ("pca residual", "knn whitened"):
        rank = np.argsort(np.argsort(rivals[name]))
        added[name] = -np.log((len(rank) - rank) / len(rank))
    parts = [np.stack([each[part] for part in _WITH_GAN]).astype(np.float64) for each in predicted]
    tried: dict[str, Scores] = {"score": [p.sum(0) for p in parts]}
    tried["with Mahalanobis distance"] = _sums(predicted, (*_WITH_GAN, "mahalanobis"))
    tried["residual twice"] = [p.sum(0) + each["residual"] for p, each in zip(parts, predicted, strict=True)]
    tried["with pca residual"] = [p.sum(0) + added["pca residual"] for p in parts]
    tried["with pca residual and knn whitened"] = [p.sum(0) + sum(added.values()) for p in parts]
    tried["sum of squares"] = [(p**2).sum(0) for p in parts]
    tried["largest part"] = [p.max(0) for p in parts]
    tried["largest of parts, pca residual, knn whitened"] = [np.max([*p, *added.values()], axis=0) for p in parts]
    rows = []
    for name, values in tried.items():
        cells = [_entry(values, truth != "", metric) for metric in ("AUC", "average precision")]
        for kind in ("jellyfish", "satellite_trail"):
            chosen = (truth == kind) | (truth == "")
            cells.append(_entry([score[chosen] for score in values], truth[chosen] != "", "AUC"))
        rows.append([name, *cells])
    return study.table(["sum", "AUC", "average precision", "AUC of jellyfish", "AUC of satellite trails"], rows)


def spaces() -> str:
    """Say what the parts find that need another model."""
    predicted, truth = study.read_test(Path("spaces/default/seed0"), "main")
    return leave_one_out([predicted], truth["oddity"] != "", ("representation", "representation_density"))


def mergers() -> str:
    """Say how many mergers are found by a network and references that saw none."""
    predicted, truth = study.read_test(Path("mergers/default/seed0"), "fresh")
    is_odd = truth["oddity"] != ""
    scores = {"score": _sums([predicted], DEFAULT_PARTS), "GAN alone": _sums([predicted], ("residual",))}
    scores |= {name: [values] for name, values in read_rivals("mergers").items()}
    kept = ("AUC", "recall in top 5 %", "precision in top 5 %")
    rows = [[name, *(_entry(values, is_odd, metric) for metric in kept)] for name, values in scores.items()]
    about = (
        f"{is_odd.sum()} mergers of {len(is_odd):,} test objects, so that the largest recall in the top 5 % is "
        f"{0.05 * len(is_odd) / is_odd.sum():.2f}, and the precision of a random order {is_odd.mean():.2f}.\n\n"
    )
    return about + study.table(["method", *kept], rows)


def family() -> str:
    """Compare the adversarial networks: health on held-out galaxies, and what their residuals find."""
    rows, tiles = [], {}
    for name, folders in runs_of("family").items():
        run = folders[0]
        last, judged = study.read_history(run)[-1]["validation"], study.load(run).task.context.constants["generated"]
        predicted, truth = study.read_test(run, "few")
        tests = judged["tests"]
        colours = [value[0] for key, value in tests.items() if key.startswith("colour_")]
        form = [tests.get(key, [np.nan])[0] for key in ("r50_arcsec", "r50_pixels", "concentration") if key in tests]
        health = [last["loss"], last["distance"], last["gradient"], judged["diversity"], judged.get("frechet", np.nan)]
        values = [*health, judged.get("frechet_real", np.nan), *form, np.mean(colours) if colours else np.nan]
        auc = metrics_of.auc(predicted["residual"], truth["oddity"] != "")
        rows.append([name, *(f"{value:.3g}" for value in values), f"{auc:.3f}"])
        tiles[name] = run
    head = ["method", "reconstruction", "critic distance", "gradient norm", "diversity", "Frechet", "Frechet of real"]
    head += ["KS of size", "KS of concentration", "mean KS of colours", "AUC of the residual"]
    return study.table(head, rows) + "\n" + draw_generated(tiles)


def draw_generated(folders: dict[str, Path], n_each: int = 10) -> str:
    """Draw real galaxies and galaxies of each method."""
    pictures, real = [], None
    for folder in folders.values():
        model = study.load(folder)
        with open_store(TEST) as store:
            cutouts = model.task.read(store, np.arange(n_each))
            channels = order_screen_channels(store.bands)
        batch = {name: torch.from_numpy(array) for name, array in model.task.inputs(cutouts).items()}
        with torch.no_grad():
            drawn = draw_galaxies(model.network, [batch], model.task.context.normalization, n_each)
        real = (drawn["real"][:, channels], drawn["sky_sigma"][:, channels])
        pictures.append(drawn["generated"][:, channels])
    assert real is not None
    sky = np.concatenate([real[1]] * (1 + len(pictures)))
    rgb = lupton_rgb(np.concatenate([real[0], *pictures]), sky, band_factors=balance_bands(real[0]))
    figure = generated_sheet(rgb[:n_each], rgb[n_each:], heading=f"Real, then {', '.join(folders)}")
    return study.show("Real and generated galaxies, a row for each method", "outliers-study-generated.png", figure)


def real() -> str:
    """Rank real objects that experts found interesting, or could not classify."""
    rows = []
    for survey in ("hsc", "zoo"):
        predicted, truth = study.read_test(Path(survey, "default", "seed0"), survey)
        is_odd = truth["oddity"] != ""
        scores = {"score": _sums([predicted], DEFAULT_PARTS), _WITHOUT: _sums([predicted], _WITHOUT_GAN)}
        scores |= {name: [values] for name, values in read_rivals(survey).items()}
        for name, values in scores.items():
            cells = [_entry(values, is_odd, metric) for metric in ("AUC", "average precision")]
            rows.append([survey, str(len(is_odd)), name, *cells])
    return study.table(["set", "test objects", "method", "AUC", "average precision"], rows)


if __name__ == "__main__":
    study.main(
        {
            "outliers": outliers,
            "fresh": fresh,
            "second": second,
            "spaces": spaces,
            "mergers": mergers,
            "family": family,
            "real": real,
        }
    )
