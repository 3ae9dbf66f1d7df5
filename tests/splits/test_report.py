"""The split report passes a fair split and flags an unfair one."""

import json

import numpy as np
import pytest
from scipy.stats import kstest

from astrodl.config import SplitSettings
from astrodl.splits.assign import TEST, TRAIN, VALIDATION, assign
from astrodl.splits.report import split_report

N = 3000


def survey(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = rng.choice(["disk", "elliptical", "merger", ""], N, p=[0.6, 0.2, 0.1, 0.1])
    z = np.where(rng.random(N) < 0.1, np.nan, rng.gamma(3, 0.2, N))
    return {"class": classes, "z": z, "name": np.array([f"galaxy {k}" for k in range(N)])}


def assign_by_name(seed: int = 0, folds: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return assign([f"{k}" for k in range(N)], None, None, SplitSettings(seed=seed, folds=folds))


def test_a_fair_split_is_not_reported() -> None:
    report = split_report(*assign_by_name(), survey())
    assert report["unlucky"] == []
    assert set(report["parts"]) == {"train", "validation", "test"}


def test_p_values_of_fair_splits_are_uniform() -> None:
    values = [split_report(*assign_by_name(seed), survey())["parts"]["test"] for seed in range(60)]
    for column in ("class", "z"):
        assert kstest([value[column]["p_value"] for value in values], "uniform").pvalue > 1e-3


def test_a_split_by_class_and_redshift_is_reported() -> None:
    columns = survey()
    split = np.where(columns["class"] == "merger", TEST, np.where(columns["z"] > 1, VALIDATION, TRAIN)).astype(np.int8)
    report = split_report(split, np.where(split == TEST, -1, 0).astype(np.int16), columns)
    assert any(line.startswith("test: 'class' is unlike the rest") for line in report["unlucky"])
    assert any(line.startswith("validation: 'z' is unlike the rest") for line in report["unlucky"])


def test_counts_histograms_and_fractions_add_up() -> None:
    columns = survey()
    split, fold = assign_by_name()
    parts = split_report(split, fold, columns)["parts"]
    assert sum(part["n_objects"] for part in parts.values()) == N
    assert sum(part["fraction"] for part in parts.values()) == pytest.approx(1)
    for name in ("disk", "elliptical", "merger"):
        assert sum(part["class"]["counts"][name] for part in parts.values()) == (columns["class"] == name).sum()
    assert sum(sum(part["z"]["histogram"]) for part in parts.values()) == np.isfinite(columns["z"]).sum()
    for part in parts.values():
        assert sum(part["class"]["fractions"].values()) == pytest.approx(1)
    assert parts["test"]["z"]["quantiles"]["50"] == np.nanmedian(columns["z"][split == TEST])


def test_names_are_not_classes_and_unknown_values_are_excluded() -> None:
    part = split_report(*assign_by_name(), survey())["parts"]["train"]
    assert "name" not in part
    assert "" not in part["class"]["counts"]


def test_each_fold_is_a_part() -> None:
    split, fold = assign_by_name(folds=3)
    parts = split_report(split, fold, survey())["parts"]
    assert set(parts) == {"test", "fold0", "fold1", "fold2"}
    assert parts["fold1"]["n_objects"] == (fold == 1).sum()


def test_the_report_is_json_even_with_an_empty_part() -> None:
    columns = survey() | {"z": np.full(N, np.nan)}
    everything = np.full(N, TEST, np.int8)
    report = split_report(everything, np.full(N, -1, np.int16), columns)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["parts"]["test"]["class"]["p_value"] is None
    assert report["parts"]["train"]["n_objects"] == 0
    assert "edges" not in report
    assert split_report(np.array([], np.int8), np.array([], np.int16), {})["parts"]["test"]["n_objects"] == 0
    one = split_report(
        np.arange(3).astype(np.int8), np.array([0, 0, -1], np.int16), {"z": np.array([0.1, np.nan, 0.3])}
    )
    assert one["parts"]["validation"]["z"]["quantiles"]["50"] is None
