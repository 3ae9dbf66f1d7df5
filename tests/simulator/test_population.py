"""The drawn population agrees with the relations that it is drawn from."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import gamma

from astrodl.config import SURVEY_DEFAULTS, SimulateSettings
from astrodl.simulator.bands import BANDS
from astrodl.simulator.instruments import SURVEYS
from astrodl.simulator.population import (
    BLUE,
    CLASS_PROPERTIES,
    CLASSES,
    RED,
    SIZE_SCATTER,
    Population,
    class_density,
    elliptical_fraction,
    irregular_fraction,
    mass_to_light,
    merger_fraction,
    typical_radius,
)
from astrodl.simulator.spectra import draw_deviation
from astrodl.simulator.templates import FluxTable


def population(limit: float = 24.0, band: str = "F775W", **options: Any) -> Population:
    colors = FluxTable([BANDS[band]], rest_blue=True)
    return Population(colors, 0, limit, (0.0, 100.0), **options)


@pytest.fixture(scope="module")
def natural() -> Population:
    return population()


def test_red_and_blue_luminosity_functions_integrate_to_gamma_functions() -> None:
    magnitude = np.linspace(-26, -8, 40001)
    for function, z in ((RED, 0.0), (RED, 0.8), (BLUE, 0.3)):
        # int phi L / L* dM = phi* Gamma(alpha + 2): the luminosity density.
        light = 10 ** (-0.4 * (magnitude - function.magnitude - function.evolution * z))
        total = np.trapezoid(function(magnitude, np.array(z)) * light, magnitude)
        density = function.density * np.exp(function.density_evolution * z)
        assert total == pytest.approx(density * gamma(function.slope + 2), rel=1e-3)
    assert BLUE(np.array(-18.0), np.array(0.5)) > RED(np.array(-18.0), np.array(0.5))


def test_the_densities_of_the_classes_add_up_to_the_luminosity_functions() -> None:
    magnitude, z = np.linspace(-23, -15, 30)[:, None], np.linspace(0.05, 1.5, 20)
    total = sum(class_density(name, magnitude, z) for name in CLASSES)
    np.testing.assert_allclose(total, RED(magnitude, z) + BLUE(magnitude, z), rtol=1e-12)


def test_the_mix_of_classes_depends_on_luminosity_and_redshift_as_in_the_literature() -> None:
    bright, faint, early, late = np.array(-22.0), np.array(-18.0), np.array(0.2), np.array(1.2)
    assert elliptical_fraction(bright, early) > 2 * elliptical_fraction(faint, early)
    assert irregular_fraction(faint, early) > 2 * irregular_fraction(bright, early)
    assert irregular_fraction(bright, late) > 2 * irregular_fraction(bright, early)
    # Conselice, Yang & Bluck 2009.
    assert merger_fraction(early) == pytest.approx(0.04, abs=0.01)
    assert merger_fraction(late) == pytest.approx(0.13, abs=0.015)


def test_the_fraction_of_irregulars_and_mergers_evolves_as_in_brinchmann_et_al() -> None:
    survey = population(22.0, "F814W")

    def share(low: float, high: float) -> float:
        chosen = (survey.z >= low) & (survey.z <= high)
        counts = {name: survey.density[name][:, chosen].sum() for name in CLASSES}
        return float((counts["irregular"] + counts["merger"]) / sum(counts.values()))

    assert share(0.3, 0.5) == pytest.approx(0.09, abs=0.03)
    assert share(0.7, 0.9) == pytest.approx(0.32, abs=0.13)
    assert share(0.7, 0.9) > 2 * share(0.3, 0.5)


def test_the_table_of_densities_agrees_with_a_slow_loop(natural: Population) -> None:
    row, column = 60, 55
    z = natural.z[column]
    from astropy.cosmology import FlatLambdaCDM

    cosmos = FlatLambdaCDM(H0=70, Om0=0.3)
    absolute = natural.magnitude[row] - cosmos.distmod(z).value - natural.k_correction["spiral"][column]
    share = (1 - 0.023 * (1 + z) ** 2.3) * (1 - irregular_fraction(absolute, z))
    luminosity = 10 ** (-0.4 * (absolute + 20.40492365 + 0.9408582 * z))
    phi = 0.4 * np.log(10) * 0.00370253 * np.exp(-0.10268436 * z) * luminosity**-0.3 * np.exp(-luminosity)
    volume = cosmos.differential_comoving_volume(z).value * (np.pi / 180) ** 2
    assert natural.density["spiral"][row, column] == pytest.approx(phi * share * volume, rel=1e-3)


def test_galaxies_are_drawn_from_the_table(natural: Population) -> None:
    rng = np.random.default_rng(5)
    drawn = [natural.draw(rng) for _ in range(4000)]
    counts = natural.counts() * 0.05
    edges = np.append(natural.magnitude - 0.025, 24.0)
    expected = np.append(0, np.cumsum(counts)) / counts.sum()
    assert stats.kstest([g.magnitude for g in drawn], lambda m: np.interp(m, edges, expected)).pvalue > 1e-3
    n_z = np.sum([natural.density[name].sum(axis=0) for name in CLASSES], axis=0)
    step = natural.z[1] - natural.z[0]
    cumulative = np.append(0, np.cumsum(n_z)) / n_z.sum()
    places = np.append(natural.z - step / 2, natural.z[-1] + step / 2)
    assert stats.kstest([g.z for g in drawn], lambda z: np.interp(z, places, cumulative)).pvalue > 1e-3
    shares = np.array([natural.density[name].sum() for name in CLASSES])
    observed = [sum(g.morphology == name for g in drawn) for name in CLASSES]
    assert stats.chisquare(observed, 4000 * shares / shares.sum()).pvalue > 1e-3


def test_number_counts_are_similar_to_the_observed_ones(natural: Population) -> None:
    # zCOSMOS: about 30,000 galaxies of I < 22.5 per square degree (Lilly et al. 2007, ApJS 172, 70), without stars.
    survey = population(22.5, "F814W")
    assert 15_000 < survey.counts().sum() * 0.05 < 40_000
    assert np.all(np.diff(natural.counts()) > 0)


@pytest.mark.parametrize("name", CLASSES)
def test_sizes_scatter_about_the_relation(natural: Population, name: str) -> None:
    rng = np.random.default_rng(6)
    drawn = [natural.draw(rng, name) for _ in range(1500)]
    ratio = np.log10([g.radius / natural.median_radius(name, g.magnitude, g.z) for g in drawn])
    scatter = SIZE_SCATTER[CLASS_PROPERTIES[name].early]
    assert ratio.mean() == pytest.approx(0, abs=4 * scatter / np.sqrt(1500))
    assert ratio.std() == pytest.approx(scatter, rel=0.08)


def test_typical_sizes_agree_with_van_der_wel_et_al() -> None:
    mass, z = np.array(5e10), np.array(0.0)
    assert typical_radius(mass, z, early=True) == pytest.approx(5.6)
    assert typical_radius(mass, z, early=False) == pytest.approx(8.9)
    ratio = typical_radius(mass, np.array(1.0), early=True) / typical_radius(mass, z, early=True)
    assert ratio == pytest.approx(2**-1.48)
    # Early types are larger than late types only at high mass.
    small, large = np.array(2e10), np.array(4e11)
    assert typical_radius(small, z, early=True) < 0.5 * typical_radius(small, z, early=False)
    assert typical_radius(large, z, early=True) > typical_radius(large, z, early=False)


def test_mass_to_light_ratios_decrease_from_red_to_blue_galaxies() -> None:
    masses = [mass_to_light(CLASS_PROPERTIES[name].spectrum) for name in ("elliptical", "spiral", "irregular")]
    assert np.all(np.diff(masses) < 0)
    # M*_B today: 10^10.9 and 10^10.3 solar masses.
    assert 10.6 < masses[0] - 0.4 * RED.magnitude < 11.1
    assert 10.0 < masses[1] - 0.4 * BLUE.magnitude < 10.6


def test_a_balanced_survey_has_equal_classes_and_keeps_their_properties() -> None:
    even, natural = population(balance=1.0), population()
    np.testing.assert_allclose(even.fractions, 0.2)
    assert np.ptp(natural.fractions) > np.ptp(population(balance=0.5).fractions) > 0
    first, second = (p.draw(np.random.default_rng(3), "merger") for p in (even, natural))
    assert first == second


def test_counts_increase_with_the_given_slope() -> None:
    rng = np.random.default_rng(8)
    survey = population(count_slope=0.28)
    magnitude = np.array([survey.draw_magnitude(rng) for _ in range(8000)])
    n_bright, n_faint = np.sum(magnitude < 22.0), np.sum(magnitude > 23.0)
    law = [10 ** (0.28 * m) for m in (19.5, 22.0, 23.0, 24.0)]
    assert n_bright / n_faint == pytest.approx((law[1] - law[0]) / (law[3] - law[2]), rel=0.08)
    drawn = np.array([survey.draw(rng).magnitude for _ in range(4000)])
    assert stats.ks_2samp(drawn, magnitude).pvalue > 1e-3
    assert min(survey.draw_magnitude(rng, 1.0) for _ in range(500)) > 23.0


def test_template_deviations_have_the_given_scatter_and_are_smooth() -> None:
    rng = np.random.default_rng(9)
    wave = np.array([5000.0, 5100.0, 2000.0])
    drawn = np.array([draw_deviation(rng, 0.05, wave) for _ in range(4000)])
    assert drawn[:, 0].std() == pytest.approx(0.05, rel=0.05)
    assert drawn[:, 2].std() > 2 * drawn[:, 0].std()
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] > 0.99
    assert not draw_deviation(rng, 0.0, wave).any()


@pytest.mark.parametrize("name", SURVEY_DEFAULTS)
def test_the_default_bands_of_a_survey_exist(name: str) -> None:
    settings = SimulateSettings(survey=name)
    assert set(settings.bands) <= set(SURVEYS[name])
    assert SURVEY_DEFAULTS.keys() == SURVEYS.keys()
