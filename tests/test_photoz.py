"""Metrics of anybody's p(z): arrays, ensembles and files of qp."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import astrodl
from astrodl import photoz
from astrodl.errors import DataError, StoreError
from astrodl.pdfs import write_pdfs

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
    narrow = np.diff(stats.norm.cdf(EDGES, photoz.of_pdf.mean(density, EDGES)[:, None], 0.02), axis=1)
    bad = values(astrodl.photoz.evaluate(z, narrow / narrow.sum(1, keepdims=True) / WIDTH, EDGES))
    assert bad["pit_ks"] > 2 * good["pit_ks"]
    assert bad["coverage_68"] < 0.45
    assert bad["crps"] > good["crps"]


def test_every_metric_has_an_error_and_is_that_of_the_metrics_module() -> None:
    z, density = sample(60)
    report = astrodl.photoz.evaluate(z, density, EDGES, point="mode", n_draws=50)
    assert report["n_objects"] == 60
    assert report["n_unusable"] == 0
    assert all(entry["error"] > 0 for name, entry in report["metrics"].items() if not name.startswith("eta"))
    found, mode = values(report), photoz.of_pdf.mode(density, EDGES)
    assert found["sigma_mad"] == photoz.of_point.sigma_mad(mode, z)
    assert found["eta_lsst"] == photoz.of_point.eta_lsst(mode, z)
    assert found["cde_loss"] == pytest.approx(photoz.of_pdf.cde_loss(density, EDGES, z))
    assert found["pit_ad"] == photoz.of_pdf.pit_ad(photoz.of_pdf.pit(density, EDGES, z))


def test_objects_without_p_z_or_redshift_are_left_out_and_counted() -> None:
    z, density = sample(50)
    whole = astrodl.photoz.evaluate(z[3:], density[3:], EDGES)
    density[0], density[1], z[2] = np.nan, 0.0, np.nan
    report = astrodl.photoz.evaluate(z, density, EDGES)
    assert report["n_unusable"] == 3
    assert report["metrics"] == whole["metrics"]


def test_a_file_of_histograms_needs_no_edges_and_gives_what_its_array_does(tmp_path: Path) -> None:
    z, density = sample(40)
    path = tmp_path / "pdf.hdf5"
    write_pdfs(path, [f"{k}" for k in range(40)], EDGES, density)
    of_file, of_array = (values(report) for report in (photoz.evaluate(z, path), photoz.evaluate(z, density, EDGES)))
    assert of_file == pytest.approx(of_array, rel=1e-4, abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_ensembles_and_files_of_qp_are_measured_as_qp_does(tmp_path: Path) -> None:
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
    of_object, of_file = (values(photoz.evaluate(z, some, EDGES)) for some in (ensemble, path))
    assert of_object == pytest.approx(of_file, rel=1e-9, abs=1e-12)
    density = np.diff(np.squeeze(ensemble.cdf(EDGES)), axis=1) / WIDTH
    median = photoz.of_pdf.median(density / (density * WIDTH).sum(1, keepdims=True), EDGES)
    theirs = {
        "bias_median": PointBias().evaluate(median, z),
        "sigma_iqr": PointSigmaIQR().evaluate(median, z),
        "sigma_mad": PointSigmaMAD().evaluate(median, z),
        "eta_lsst": PointOutlierRate().evaluate(median, z),
    }
    assert {name: of_object[name] for name in theirs} == pytest.approx(theirs, abs=1e-6)
    with pytest.raises(DataError, match="outside the edges 0 to 1; give wider"):
        photoz.evaluate(z, ensemble, np.linspace(0, 1, 50))


def test_what_cannot_be_measured_is_one_clear_line(tmp_path: Path) -> None:
    z, density = sample(5)
    with pytest.raises(DataError, match="edges are not given"):
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
