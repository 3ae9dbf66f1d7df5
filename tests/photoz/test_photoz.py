"""Metrics of p(z) from arrays, ensembles and files of qp."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import astrodl
from astrodl import photoz
from astrodl.errors import DataError, StoreError
from astrodl.metrics import pdf as pdf_metrics
from astrodl.metrics import photoz as point_metrics
from astrodl.products.pdfs import write_pdfs

EDGES = np.linspace(0, 2, 201)
WIDTH = np.diff(EDGES)


def sample(n: int = 400, sigma: float = 0.05, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True redshifts, and Gaussians around estimates that scatter about them by their own width."""
    random = np.random.default_rng(seed)
    z = random.uniform(0.4, 1.6, n)
    middle = z + sigma * random.standard_normal(n)
    probability = np.diff(stats.norm.cdf(EDGES, middle[:, None], sigma), axis=1)
    return z, probability / probability.sum(1, keepdims=True) / WIDTH


def values(report: dict) -> dict[str, float]:
    return {name: entry["value"] for name, entry in report["metrics"].items()}


def test_gaussians_of_the_right_width_are_calibrated_and_too_narrow_ones_are_not() -> None:
    z, density = sample()
    good = values(astrodl.photoz.evaluate(z, density, EDGES))
    assert good["coverage_68"] == pytest.approx(0.68, abs=0.06)
    assert good["coverage_95"] == pytest.approx(0.95, abs=0.03)
    assert good["crps"] == pytest.approx(0.05 / np.sqrt(np.pi), rel=0.1)
    narrow = np.diff(stats.norm.cdf(EDGES, pdf_metrics.mean(density, EDGES)[:, None], 0.02), axis=1)
    bad = values(astrodl.photoz.evaluate(z, narrow / narrow.sum(1, keepdims=True) / WIDTH, EDGES))
    assert bad["pit_ks"] > 2 * good["pit_ks"]
    assert bad["coverage_68"] < 0.45
    assert bad["crps"] > good["crps"]


def test_metrics_have_errors_and_are_those_of_astrodl_metrics() -> None:
    z, density = sample(60)
    report = astrodl.photoz.evaluate(z, density, EDGES, point="mode", n_draws=50)
    assert report["n_objects"] == 60
    assert report["n_unusable"] == 0
    assert all(entry["error"] > 0 for name, entry in report["metrics"].items() if not name.startswith("eta"))
    found, mode = values(report), pdf_metrics.mode(density, EDGES)
    assert found["sigma_mad"] == point_metrics.sigma_mad(mode, z)
    assert found["eta_lsst"] == point_metrics.eta_lsst(mode, z)
    assert found["cde_loss"] == pytest.approx(pdf_metrics.cde_loss(density, EDGES, z).mean())
    assert found["pit_ad"] == pdf_metrics.pit_ad(pdf_metrics.pit(density, EDGES, z))


def test_objects_without_p_z_or_redshift_are_left_out_and_counted() -> None:
    z, density = sample(50)
    whole = astrodl.photoz.evaluate(z[3:], density[3:], EDGES)
    density[0], density[1], z[2] = np.nan, 0.0, np.nan
    report = astrodl.photoz.evaluate(z, density, EDGES)
    assert report["n_unusable"] == 3
    assert report["metrics"] == whole["metrics"]


def test_a_file_of_histograms_needs_no_edges_and_has_the_metrics_of_its_array(tmp_path: Path) -> None:
    z, density = sample(40)
    path = tmp_path / "pdf.hdf5"
    write_pdfs(path, [f"{k}" for k in range(40)], EDGES, density)
    of_file, of_array = (values(report) for report in (photoz.evaluate(z, path), photoz.evaluate(z, density, EDGES)))
    assert of_file == pytest.approx(of_array, rel=1e-4, abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_metrics_of_ensembles_and_files_of_qp_agree_with_qp(tmp_path: Path) -> None:
    qp = pytest.importorskip("qp")
    from qp.metrics.point_estimate_metric_classes import (
        PointBias,
        PointOutlierRate,
        PointSigmaIQR,
        PointSigmaMAD,
    )

    random = np.random.default_rng(3)
    z = random.uniform(0.4, 1.6, 300)
    middle = z + 0.05 * random.standard_normal(300)
    ensemble = qp.Ensemble(qp.stats.norm, {"loc": middle[:, None], "scale": np.full((300, 1), 0.05)})
    path = tmp_path / "norm.hdf5"
    ensemble.write_to(str(path))
    of_object, of_file = (values(photoz.evaluate(z, pdf, EDGES)) for pdf in (ensemble, path))
    assert of_object == pytest.approx(of_file, rel=1e-9, abs=1e-12)
    density = np.diff(np.squeeze(ensemble.cdf(EDGES)), axis=1) / WIDTH
    median = pdf_metrics.median(density / (density * WIDTH).sum(1, keepdims=True), EDGES)
    expected = {
        "bias_median": PointBias().evaluate(median, z),
        "sigma_iqr": PointSigmaIQR().evaluate(median, z),
        "sigma_mad": PointSigmaMAD().evaluate(median, z),
        "eta_lsst": PointOutlierRate().evaluate(median, z),
    }
    assert {name: of_object[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    with pytest.raises(DataError, match="outside the edges 0 to 1; give wider"):
        photoz.evaluate(z, ensemble, np.linspace(0, 1, 50))


def test_invalid_input_raises_one_line(tmp_path: Path) -> None:
    z, density = sample(5)
    with pytest.raises(DataError, match="edges is None"):
        photoz.evaluate(z, density)
    with pytest.raises(DataError, match=r"z_true has shape \(4,\), there are 5 p\(z\)"):
        photoz.evaluate(z[:4], density, EDGES)
    with pytest.raises(DataError, match="none of 5 objects"):
        photoz.evaluate(z, density * np.nan, EDGES)
    with pytest.raises(DataError, match="point is 'best', accepted are mean, median, mode"):
        photoz.evaluate(z, density, EDGES, point="best")  # type: ignore[arg-type]
    (tmp_path / "text.hdf5").write_text("no")
    with pytest.raises(StoreError, match="not a file of p"):
        photoz.evaluate(z, tmp_path / "text.hdf5")


def delta_functions(z: np.ndarray) -> np.ndarray:
    """All probability in the bin that holds z."""
    density = np.zeros((len(z), len(WIDTH)))
    density[np.arange(len(z)), np.searchsorted(EDGES, z, side="right") - 1] = 1 / WIDTH[0]
    return density


def test_trends_have_the_bias_of_each_bin() -> None:
    z = np.full(40, 1.005)
    shift = np.repeat([0.0, 0.1, 0.2, 0.5], 10)
    quantity = np.arange(40.0)[::-1]
    rows = astrodl.photoz.trends(z, delta_functions(z + shift[::-1]), EDGES, against=quantity, n_bins=4, n_draws=20)
    assert [row["n_objects"] for row in rows] == [10] * 4
    assert [(row["low"], row["centre"], row["high"]) for row in rows[:2]] == [(0, 4.5, 9), (10, 14.5, 19)]
    expected = np.array([0.0, 0.1, 0.2, 0.5])
    for name in ("bias_mean", "bias_median"):
        assert [row["metrics"][name]["value"] for row in rows] == pytest.approx(expected / 2.005, abs=1e-9)
    assert [row["metrics"]["sigma_mad"]["value"] for row in rows] == pytest.approx(np.zeros(4), abs=1e-9)
    assert [row["metrics"]["eta_005"]["value"] for row in rows] == [0, 0, 1, 1]
    assert [row["metrics"]["eta_015"]["value"] for row in rows] == [0, 0, 0, 1]
    assert [row["metrics"]["coverage_95"]["value"] for row in rows] == [1, 0, 0, 0]


def test_a_single_bin_has_the_metrics_of_evaluate() -> None:
    z, density = sample(80)
    density[0] = np.nan
    (row,) = astrodl.photoz.trends(z, density, EDGES, against=z, n_bins=1, n_draws=500)
    whole = astrodl.photoz.evaluate(z, density, EDGES)["metrics"]
    assert row["n_objects"] == 79
    for name, entry in row["metrics"].items():
        assert entry["value"] == pytest.approx(whole[name]["value"], rel=1e-12)
        assert entry["error"] == pytest.approx(whole[name]["error"], rel=1e-9)
    assert set(row["metrics"]) == set(photoz.bins.TREND_METRICS)


def test_objects_without_the_quantity_are_left_out_of_trends() -> None:
    z, density = sample(60)
    quantity = np.linspace(20, 25, 60)
    quantity[[0, 7]] = np.nan, np.inf
    whole = np.delete(np.arange(60), [0, 7])
    rows = astrodl.photoz.trends(z, density, EDGES, against=quantity, n_bins=3)
    assert rows == astrodl.photoz.trends(z[whole], density[whole], EDGES, against=quantity[whole], n_bins=3)
    assert sum(row["n_objects"] for row in rows) == 58


def test_tomography_of_delta_functions_has_the_means_by_hand() -> None:
    z = np.array([0.405, 0.415, 1.205, 1.225])
    (low, high) = astrodl.photoz.tomography(z + np.array([0, 0, 0, 0.02]), delta_functions(z), EDGES, n_bins=2)
    assert (low["n_objects"], high["n_objects"]) == (2, 2)
    assert (low["low"], low["high"]) == pytest.approx((0.405, 0.415))
    assert (low["mean_true"], low["mean_stack"], low["mean_point"]) == pytest.approx((0.41, 0.41, 0.41))
    assert low["bias"] == pytest.approx(0, abs=1e-12)
    assert high["bias"] == pytest.approx(-0.01)
    assert high["error"] == pytest.approx(0.01 / np.sqrt(2), rel=0.15)
    assert high["requirement"] == pytest.approx(0.002 * 2.225)
    for row in (low, high):
        assert np.array_equal(row["edges"], EDGES)
        assert [row[name] @ WIDTH for name in ("density_stack", "density_true")] == pytest.approx([1, 1])
    assert low["density_stack"] == pytest.approx(low["density_true"])


def calibrated(n: int, sigma: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Gaussians of which the true redshifts are draws; away from the ends, where a cut p(z) would be biased."""
    random = np.random.default_rng(5)
    middle = random.uniform(0.4, 1.6, n)
    probability = np.diff(stats.norm.cdf(EDGES, middle[:, None], sigma), axis=1)
    return middle + sigma * random.standard_normal(n), probability / probability.sum(1, keepdims=True) / WIDTH


def test_only_shifted_p_z_are_biased_in_tomographic_bins() -> None:
    z, density = calibrated(2000)
    rows = astrodl.photoz.tomography(z, density, EDGES)
    assert [row["n_objects"] for row in rows] == [400] * 5
    assert all(abs(row["bias"]) < 3 * row["error"] for row in rows)
    assert [row["error"] for row in rows] == pytest.approx([0.05 / 20] * 5, rel=0.25)
    shifted = astrodl.photoz.tomography(z - 0.02, density, EDGES)
    assert [row["bias"] for row in shifted] == pytest.approx([row["bias"] + 0.02 for row in rows])
    assert all(row["bias"] > 3 * row["error"] for row in shifted)


def test_trends_of_calibrated_p_z_are_flat_within_their_errors() -> None:
    z, density = calibrated(2000)
    quantity = np.random.default_rng(6).uniform(18, 25, len(z))
    for row in astrodl.photoz.trends(z, density, EDGES, against=quantity, n_bins=5):
        found = row["metrics"]
        expectations = {"bias_mean": 0, "bias_median": 0, "coverage_68": 0.68, "coverage_95": 0.95}
        for name, expected in {**expectations, "crps": 0.05 / np.sqrt(np.pi)}.items():
            assert abs(found[name]["value"] - expected) < 3.5 * found[name]["error"], name
        assert found["pit_ks"]["value"] < 1.63 / np.sqrt(row["n_objects"])


def test_bins_of_a_file_agree_with_those_of_its_array(tmp_path: Path) -> None:
    z, density = sample(40)
    path = tmp_path / "pdf.hdf5"
    write_pdfs(path, [f"{k}" for k in range(40)], EDGES, density)
    for of_file, of_array in zip(
        photoz.tomography(z, path, n_bins=2), photoz.tomography(z, density, EDGES, n_bins=2), strict=True
    ):
        assert of_file["mean_stack"] == pytest.approx(of_array["mean_stack"], rel=1e-5)
    of_file, of_array = (photoz.trends(z, pdf, EDGES, against=z, n_bins=2) for pdf in (path, density))
    assert of_file[0]["metrics"]["crps"]["value"] == pytest.approx(of_array[0]["metrics"]["crps"]["value"], rel=1e-4)


def test_invalid_bins_raise_one_line() -> None:
    z, density = sample(5)
    with pytest.raises(DataError, match=r"against has shape \(4,\), there are 5 p\(z\)"):
        photoz.trends(z, density, EDGES, against=z[:4])
    with pytest.raises(DataError, match="against is not finite for any of 5 objects"):
        photoz.trends(z, density, EDGES, against=z * np.nan)
    with pytest.raises(DataError, match="n_bins is 0, must be at least 1"):
        photoz.tomography(z, density, EDGES, n_bins=0)
    with pytest.raises(DataError, match="point is 'best'"):
        photoz.tomography(z, density, EDGES, point="best")  # type: ignore[arg-type]
