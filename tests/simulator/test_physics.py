"""Fluxes, colours and images against direct integration and chromatic drawing with GalSim."""

from typing import Any

import galsim
import numpy as np
import pytest

from astrodl.config import SimulateSettings
from astrodl.simulator.fourier import Layer
from astrodl.simulator.instruments import SURVEYS
from astrodl.simulator.objects import Simulator
from astrodl.simulator.population import Galaxy, distance_modulus
from astrodl.simulator.scene import Scene
from astrodl.simulator.templates import REST_BLUE, TEMPLATES, FluxTable, Spectrum, calzetti


@pytest.fixture(scope="module", params=["candels", "lsst"])
def simulator(request: pytest.FixtureRequest) -> Simulator:
    return Simulator(SimulateSettings(survey=request.param, template_scatter=0.0, oddity_fraction=0.0))


def galsim_sed(spectrum: Spectrum, z: float) -> galsim.SED:
    """Return the spectrum of a template with Calzetti dust as read and redshifted by GalSim."""
    rest = galsim.SED(f"CWW_{TEMPLATES[int(spectrum.template)]}_ext.sed", wave_type="Ang", flux_type="flambda")

    def screen(wave_nm: Any) -> Any:
        return 10 ** (-0.4 * spectrum.reddening * calzetti(np.asarray(wave_nm) * 10))

    return (rest * screen if spectrum.reddening else rest).atRedshift(z)


def galsim_bandpass(band: Any) -> galsim.Bandpass:
    return galsim.Bandpass(band.file, wave_type=band.wave_type).withZeropoint("AB")


@pytest.mark.parametrize("z", [0.0, 0.513, 1.24])
@pytest.mark.parametrize("survey", ["candels", "lsst"])
def test_colors_of_the_templates_agree_with_direct_integration(survey: str, z: float) -> None:
    table = FluxTable(list(SURVEYS[survey].values()))
    for template in range(len(TEMPLATES)):
        for reddening in (0.0, 0.3):
            spectrum = Spectrum(float(template), reddening)
            sed = galsim_sed(spectrum, z)
            expected = np.array([sed.calculateMagnitude(galsim_bandpass(band)) for band in SURVEYS[survey].values()])
            measured = -2.5 * np.log10(table.flux(spectrum, z))
            np.testing.assert_allclose(np.diff(measured), np.diff(expected), atol=0.01)


@pytest.mark.parametrize("template", [0.0, 2.0, 3.0])
def test_k_corrections_agree_with_direct_integration(template: float) -> None:
    band, z, spectrum = SURVEYS["candels"]["F775W"], 0.7, Spectrum(template, 0.2)
    wave, transmission = REST_BLUE.throughput()
    blue = galsim.Bandpass(galsim.LookupTable(wave, transmission, "linear"), wave_type="Ang").withZeropoint("AB")
    # GalSim keeps the photons per unit of observed wavelength, as does a source at z at the same luminosity distance.
    observed = galsim_sed(spectrum, z).calculateMagnitude(galsim_bandpass(band))
    expected = observed - galsim_sed(spectrum, 0.0).calculateMagnitude(blue)
    flux = FluxTable([band], rest_blue=True).flux(spectrum, z)
    assert -2.5 * np.log10(flux[0] / flux[1]) == pytest.approx(expected, abs=0.01)


def two_components(simulator: Simulator, z: float) -> tuple[Scene, list[tuple[Any, Spectrum, float]]]:
    """Return a bulge and a disk as a scene and as GalSim profiles with spectra and magnitudes."""
    pixel = simulator.settings.pixel_scale_arcsec
    bulge, disk = Spectrum(0.0), Spectrum(2.0, 0.2)
    grid, painter = simulator.canvas.grid, simulator.canvas
    scene = Scene(Galaxy("spiral", z, 22.0, 5 * pixel, 0.1))
    parts = [("bulge", 3.0, 2.0, 0.8, bulge, 23.0), ("disk", 1.0, 5.0, 0.5, disk, 22.5)]
    profiles = []
    for part, n, radius, q, spectrum, magnitude in parts:
        image = grid.sersic(n, radius * pixel, q, 0.6, 1.3 * pixel, -0.7 * pixel)
        scene.layers.append(Layer(part, image, painter.band_fluxes(spectrum, z, 10 ** (-0.4 * magnitude))))
        shape = galsim.Sersic(n, half_light_radius=radius * pixel * np.sqrt(q)).shear(q=q, beta=0.6 * galsim.radians)
        profiles.append((shape.shift(1.3 * pixel, -0.7 * pixel), spectrum, magnitude))
    return scene, profiles


def chromatic(simulator: Simulator, profiles: list[tuple[Any, Spectrum, float]], z: float) -> Any:
    band = galsim_bandpass(simulator.bands[simulator.truth_band])
    seds = [galsim_sed(spectrum, z).withMagnitude(magnitude, band) for _, spectrum, magnitude in profiles]
    return galsim.Add([shape * sed for (shape, _, _), sed in zip(profiles, seds, strict=True)])


@pytest.mark.parametrize("z", [0.2, 0.9])
def test_total_flux_equals_the_integral_of_spectrum_times_band_pass(simulator: Simulator, z: float) -> None:
    scene, profiles = two_components(simulator, z)
    sky = galsim_bandpass(simulator.bands[simulator.truth_band])
    images, _ = simulator.render(scene)
    for index, band in enumerate(simulator.bands):
        seds = [galsim_sed(spectrum, z).withMagnitude(m, sky) for _, spectrum, m in profiles]
        expected = sum(sed.calculateFlux(galsim_bandpass(band)) for sed in seds) * band.area_cm2
        counts = scene.flux(index) * simulator.count_per_flux[index]
        assert counts == pytest.approx(expected, rel=0.01)
        # The cutout contains nearly all of the light.
        assert 0.93 * expected < images[index].sum() < 1.01 * expected


@pytest.mark.parametrize("z", [0.2, 0.9])
def test_images_agree_with_chromatic_drawing_to_a_percent_of_the_peak(simulator: Simulator, z: float) -> None:
    scene, profiles = two_components(simulator, z)
    images, _ = simulator.render(scene)
    galaxy = chromatic(simulator, profiles, z)
    size, scale = simulator.settings.size, simulator.settings.pixel_scale_arcsec
    for image, band in zip(images, simulator.bands, strict=True):
        drawn = galsim.Convolve(galaxy, band.psf()).drawImage(galsim_bandpass(band), nx=size, ny=size, scale=scale)
        expected = drawn.array * band.area_cm2
        np.testing.assert_allclose(image, expected, atol=0.01 * expected.max())


def sample_bandpass(band: Any, n: int = 11) -> galsim.Bandpass:
    """Approximate the band-pass by a few points, for speed."""
    bandpass = galsim_bandpass(band).truncate(relative_throughput=1e-3)
    wave = np.linspace(bandpass.blue_limit, bandpass.red_limit, n)
    return galsim.Bandpass(galsim.LookupTable(wave, [bandpass(w) for w in wave], "linear"), "nm").withZeropoint("AB")


def chromatic_psf(band: Any) -> Any:
    """Return the wavelength-dependent point-spread function: diffraction grows with wavelength, seeing shrinks."""
    if band.psf_kind == "kolmogorov":
        base, overhead = band.wavelength / 10, 0 * galsim.degrees
        return galsim.ChromaticAtmosphere(band.psf(), base_wavelength=base, alpha=-0.2, zenith_angle=overhead)
    vanes = {"obscuration": 0.33, "nstruts": 4, "strut_thick": 0.022, "strut_angle": 45 * galsim.degrees}
    optics = galsim.ChromaticOpticalPSF(lam=band.wavelength / 10, diam=2.4, **vanes)
    return galsim.Convolve(optics, band.psf().obj_list[1])


# GalSim draws the wavelength-dependent point-spread function at each of many wavelengths: a minute.
@pytest.mark.slow
def test_one_point_spread_function_per_band_is_accurate_to_two_percent_of_the_peak(simulator: Simulator) -> None:
    scene, profiles = two_components(simulator, 0.5)
    images, _ = simulator.render(scene)
    galaxy = chromatic(simulator, profiles, 0.5)
    size, scale = simulator.settings.size, simulator.settings.pixel_scale_arcsec
    for image, band in zip(images, simulator.bands, strict=True):
        profile = galsim.Convolve(galaxy, chromatic_psf(band))
        rule = galsim.integ.SampleIntegrator(galsim.integ.trapzRule)
        expected = profile.drawImage(sample_bandpass(band), nx=size, ny=size, scale=scale, integrator=rule).array
        # The few points lose some light; only the shape is compared.
        expected *= image.sum() / expected.sum()
        # A break within a wide band gives bulge and disk different effective wavelengths: 1.3 % in F606W.
        np.testing.assert_allclose(image, expected, atol=0.02 * expected.max(), err_msg=band.name)


def test_the_absolute_magnitude_is_that_of_the_drawn_spectra(simulator: Simulator) -> None:
    z = 0.6
    scene, _ = two_components(simulator, z)
    flux = [simulator.flux_table.flux(spectrum, z) for spectrum in (Spectrum(0.0), Spectrum(2.0, 0.2))]
    blue = [
        10 ** (-0.4 * magnitude) * values[-1] / values[simulator.truth_band]
        for values, magnitude in zip(flux, (23.0, 22.5), strict=True)
    ]
    expected = -2.5 * np.log10(sum(blue)) - float(distance_modulus(np.array(z)))
    assert simulator.truth(scene)["absolute_magnitude"] == pytest.approx(expected, abs=1e-6)


def test_bulge_fractions_differ_by_band_as_the_spectra_do(simulator: Simulator) -> None:
    scene, _ = two_components(simulator, 0.6)
    truth = simulator.truth(scene)
    fractions = [truth[f"bt_{band}"] for band in simulator.settings.bands]
    # A red bulge in a blue disk.
    assert np.all(np.diff(fractions) > 0)
    expected = 10 ** (-0.4 * 23.0) / (10 ** (-0.4 * 23.0) + 10 ** (-0.4 * 22.5))
    assert truth["bt"] == pytest.approx(expected, rel=1e-6)
