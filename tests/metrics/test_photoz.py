import numpy as np
import pytest
from scipy import stats

from astrodl.metrics import photoz

METRICS = [
    photoz.bias_mean,
    photoz.bias_median,
    photoz.sigma_mad,
    photoz.sigma_iqr,
    photoz.eta,
    photoz.eta_lsst,
]


def gaussian(sigma: float, shift: float = 0.0, n: int = 40000) -> tuple[np.ndarray, np.ndarray]:
    """Draw redshifts whose normalised residuals are Gaussian."""
    random = np.random.default_rng(0)
    z = random.uniform(0, 3, n)
    return z + (1 + z) * random.normal(shift, sigma, n), z


def test_sigmas_of_a_gaussian_are_its_sigma() -> None:
    z_phot, z = gaussian(0.03)
    assert photoz.sigma_mad(z_phot, z) == pytest.approx(0.03, rel=0.02)
    assert photoz.sigma_iqr(z_phot, z) == pytest.approx(0.03, rel=0.02)


def test_biases_are_the_shift_and_do_not_enter_the_scatter() -> None:
    z_phot, z = gaussian(0.01, shift=0.2)
    assert photoz.bias_mean(z_phot, z) == pytest.approx(0.2, abs=3e-4)
    assert photoz.bias_median(z_phot, z) == pytest.approx(0.2, abs=3e-4)
    assert photoz.sigma_mad(z_phot, z) == pytest.approx(0.01, rel=0.02)


def test_eta_of_a_gaussian_is_its_tail() -> None:
    z_phot, z = gaussian(0.03)
    assert photoz.eta(z_phot, z, 0.05) == pytest.approx(2 * stats.norm.sf(0.05 / 0.03), abs=5e-3)
    assert photoz.eta_lsst(z_phot, z) == pytest.approx(2 * stats.norm.sf(3), abs=1e-3)


def test_eta_lsst_has_a_floor_of_six_per_cent() -> None:
    z = np.zeros(100)
    z_phot = np.r_[np.zeros(98), 0.059, 0.061]
    assert photoz.eta_lsst(z_phot, z) == 0.01


@pytest.mark.filterwarnings("ignore")
def test_metrics_agree_with_qp() -> None:
    qp = pytest.importorskip("qp.metrics.point_estimate_metric_classes")
    random = np.random.default_rng(5)
    z = random.uniform(0, 3, 501)
    z_phot = z + 0.05 * random.standard_t(2, 501)
    metrics = [photoz.bias_median, photoz.sigma_mad, photoz.sigma_iqr, photoz.eta_lsst]
    references = [qp.PointBias, qp.PointSigmaMAD, qp.PointSigmaIQR, qp.PointOutlierRate]
    for metric, reference in zip(metrics, references, strict=True):
        assert metric(z_phot, z) == pytest.approx(reference().evaluate(z_phot, z), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
def test_the_order_of_objects_changes_nothing(metric) -> None:
    z_phot, z = gaussian(0.05, n=300)
    order = np.random.default_rng(1).permutation(300)
    assert metric(z_phot[order], z[order]) == pytest.approx(metric(z_phot, z), rel=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize(
    ("z_phot", "z_spec", "message"),
    [
        ([0.1, np.nan], [0.1, 0.2], "1 of 2 redshift pairs are not finite"),
        ([0.1, 0.2], [0.1, np.inf], "1 of 2"),
        ([0.1, 0.2], [-1, np.nan], "2 of 2"),
        ([0.1], [0.1, 0.2], "shape"),
        ([], [], "N > 0"),
    ],
)
def test_invalid_redshifts_raise(metric, z_phot: list, z_spec: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(z_phot, z_spec)
