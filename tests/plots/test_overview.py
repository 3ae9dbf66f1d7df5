import numpy as np
import pytest

from astrodl.plots.overview import improvement, metrics_overview


def item(value, error=0.01):
    return {"value": value, "error": error}


DOCUMENT = {
    "task": "photoz",
    "split": "test",
    "n_objects": 600,
    "metrics": {
        "sigma_mad": {"best": "low", "label": "σ MAD"},
        "coverage_68": {"best": 0.68, "label": "68 % coverage"},
        "crps": {"best": "low", "label": "CRPS"},
        "pit_ks": {"best": "low", "label": "PIT, KS distance"},
    },
    "constant_baselines": ["trainz"],
    "network": {"sigma_mad": item(0.02, 0.001), "coverage_68": item(0.70), "crps": item(None), "pit_ks": item(0.001)},
    "baselines": {
        "forest": {"sigma_mad": item(0.03, 0.001), "coverage_68": item(0.60), "crps": item(0.1), "pit_ks": item(0.2)},
        "kNN": {"sigma_mad": item(0.025, 0.001)},
    },
}


@pytest.mark.parametrize(
    ("best", "network", "baseline", "factor"),
    [
        ("high", 0.9, 0.6, 1.5),
        ("low", 0.02, 0.03, 1.5),
        (0.0, -0.001, 0.002, 2.0),
        ("low", -6.0, -3.0, 2.0),
        (0.68, 0.70, 0.60, 4.0),
        ("low", -1.0, 1.0, np.nan),
        ("low", 0.0, 0.1, np.nan),
    ],
)
def test_improvement_is_above_one_where_the_network_is_better(best, network, baseline, factor):
    assert improvement(best, item(network), item(baseline))[0] == pytest.approx(factor, nan_ok=True)


def test_error_of_the_improvement_adds_relative_errors_in_quadrature():
    assert improvement("high", item(0.5, 0.03), item(0.5, 0.04))[1] == pytest.approx(0.1)


def test_the_table_names_the_best_baseline_and_writes_errors(texts):
    words = texts(metrics_overview([DOCUMENT])).split("\n")
    assert "Networks against classical baselines · 600 test galaxies" in words
    assert "photoz (600)" in words
    assert "0.0200 ± 0.0010" in words
    assert "0.0250 ± 0.0010" in words
    assert words.count("kNN") == 1
    assert "–" in words


def test_a_constant_baseline_is_never_the_best(texts):
    document = {**DOCUMENT, "baselines": {**DOCUMENT["baselines"], "trainz": {"coverage_68": item(0.68)}}}
    words = texts(metrics_overview([document])).split("\n")
    assert "trainz" not in words
    assert "0.600 ± 0.010" in words


def test_the_table_marks_equality_and_what_is_off_its_scale():
    axes = metrics_overview([DOCUMENT]).axes[0]
    assert any(np.array_equal(line.get_xdata(), [1, 1]) for line in axes.lines)
    assert [line.get_marker() for line in axes.lines].count(">") == 1


@pytest.mark.parametrize("documents", [[], [{"task": "latent", "n_objects": 1, "network": {}, "baselines": {}}]])
def test_a_table_without_metrics_says_so(documents, texts):
    assert "no metrics" in texts(metrics_overview(documents))
