"""Band-passes: throughput, AB zero point, sky noise and point-spread function; the known bands.

The throughput tables are those of GalSim. Zero points follow from them and the collecting area, so that magnitudes,
colours and counts are consistent. They agree with the published ones (WFC3/IR to 0.001 mag, ACS/WFC to 0.03 mag). One
count is one electron per second.

The wavelengths of the WFC3/UVIS, ACS and LSST tables are in nanometres, those of the CWW spectra in Angstrom. The unit
of each table is stated explicitly, and all wavelengths are converted to Angstrom.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from astrodl.errors import ConfigError

if TYPE_CHECKING:
    import galsim

__all__ = ["BANDS", "RUBIN_AREA_CM2", "Band"]

_HST_AREA_CM2 = 45238.93
"""Collecting area that the HST throughput tables assume (synphot `primary_area`)."""
RUBIN_AREA_CM2 = np.pi * (642.3 / 2) ** 2
"""Rubin's effective collecting area, 6.423 m in diameter (SMTN-002)."""
_PHOTON_CONSTANT = 10 ** (-0.4 * 48.6) / 6.62607015e-27
"""f_nu of an AB source of magnitude zero over Planck's constant: photons / s / cm^2 per unit of ln(wavelength)."""
_POINT_SOURCE_AREA = 2.266
"""Noise-equivalent area of a Gaussian point-spread function in units of FWHM^2, pi / (2 ln 2); Ivezic et al. 2019."""


@dataclass(frozen=True)
class Band:
    """A band-pass with its camera and exposure.

    The noise of blank sky follows from `depth` if given: a source of that magnitude is detected at 5 sigma, in an
    aperture of radius `aperture_arcsec` or, without one, as a point source with its optimal weights. Otherwise it
    follows from `background`: sigma^2 = background / exposure_s * pixel_scale^2.
    """

    name: str
    file: str
    """A table in GalSim's `share/bandpasses`, or the path of a text file: wavelength, throughput."""
    wave_type: Literal["nm", "Angstrom"]
    """Unit of the table's first column."""
    psf_kind: Literal["hst", "kolmogorov", "moffat", "gaussian"]
    psf_fwhm_arcsec: float
    """Full width at half maximum of the point-spread function without pixel response."""
    native_pixel_arcsec: float
    """Side of a detector pixel."""
    exposure_s: float
    """Total exposure in seconds."""
    area_cm2: float = 0.0
    """Collecting area; not needed with `given_zero_point`."""
    background: float = 0.0
    """Sky, dark current and read noise as an equivalent sky level, in electrons / s / arcsec^2."""
    depth: float | None = None
    """AB magnitude of a 5-sigma detection."""
    aperture_arcsec: float | None = None
    """Radius of the aperture of `depth`; None: a point source."""
    given_zero_point: float | None = None
    """AB magnitude of one electron per second; None: from throughput and area."""

    def throughput(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return evenly spaced wavelengths in Angstrom over the band, and the throughput at them."""
        return _throughput(self.file, self.wave_type)

    @property
    def wavelength(self) -> float:
        """Pivot wavelength in Angstrom."""
        wave, transmission = self.throughput()
        return float(np.sqrt(np.sum(transmission * wave) / np.sum(transmission / wave)))

    @property
    def zero_point(self) -> float:
        """AB magnitude of one electron per second."""
        if self.given_zero_point is not None:
            return self.given_zero_point
        wave, transmission = self.throughput()
        rate = _PHOTON_CONSTANT * self.area_cm2 * np.trapezoid(transmission / wave, wave)
        return float(2.5 * np.log10(rate))

    def sky_sigma(self, pixel_scale_arcsec: float) -> float:
        """Return the standard deviation of blank sky in electrons per second for pixels of a given side."""
        if self.depth is None:
            return float(np.sqrt(self.background / self.exposure_s) * pixel_scale_arcsec)
        if self.aperture_arcsec is None:
            area = _POINT_SOURCE_AREA * self.psf_fwhm_arcsec**2
        else:
            area = np.pi * self.aperture_arcsec**2
        flux = 10 ** (0.4 * (self.zero_point - self.depth))
        return float(flux / 5 * pixel_scale_arcsec / np.sqrt(area))

    def psf(self) -> "galsim.GSObject":
        """Return the point-spread function, of unit flux and without pixel response.

        "hst": diffraction of the obstructed aperture with four spider vanes, convolved with a Gaussian (charge
        diffusion, jitter, drizzling) to the given width. "kolmogorov": long exposure through turbulence. "moffat":
        beta = 4.765, the best approximation to turbulence (Trujillo et al. 2001). "gaussian".
        """
        import galsim

        if self.psf_kind == "kolmogorov":
            return galsim.Kolmogorov(fwhm=self.psf_fwhm_arcsec)
        if self.psf_kind == "moffat":
            return galsim.Moffat(beta=4.765, fwhm=self.psf_fwhm_arcsec)
        if self.psf_kind == "gaussian":
            return galsim.Gaussian(fwhm=self.psf_fwhm_arcsec)
        optics = galsim.OpticalPSF(
            lam=self.wavelength / 10,
            diam=2.4,
            obscuration=0.33,
            nstruts=4,
            strut_thick=0.022,
            strut_angle=45 * galsim.degrees,
        )
        # The widths of a diffraction core (1.03 lambda / D) and a Gaussian add nearly in quadrature.
        core = 1.03 * self.wavelength * 1e-10 / 2.4 * 206265
        blur = np.sqrt(max(self.psf_fwhm_arcsec**2 - core**2, 0.03**2))
        return galsim.Convolve(optics, galsim.Gaussian(fwhm=blur))


@cache
def _throughput(file: str, wave_type: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import galsim

    path = Path(galsim.meta_data.share_dir) / "bandpasses" / file
    try:
        wave, transmission = np.loadtxt(path if path.exists() else Path(file), unpack=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"throughput '{file}': neither a table of GalSim nor a text file of two columns, wavelength and throughput "
            f"({error}); correct the path"
        ) from error
    wave = wave * 10 if wave_type == "nm" else wave
    inside = np.flatnonzero(transmission > 1e-3 * transmission.max())
    grid = np.linspace(wave[max(inside[0] - 1, 0)], wave[min(inside[-1] + 1, len(wave) - 1)], 400)
    return grid, np.interp(grid, wave, transmission)


def _hst(
    name: str, camera: str, fwhm: float, pixel: float, rates: tuple[float, float], read_noise: float, exposure: float
) -> Band:
    """Return an HST band from the sky and dark rates of a native pixel, the read noise, and an exposure in four parts.

    Sources: ACS: sky from the ACS team's table of average zodiacal light (adcam.pha.jhu.edu), dark and read noise from
    the ACS Instrument Handbook, chapter 4. WFC3/IR: sky of WFC3 ISR 2014-11, dark and effective read noise of a
    MULTIACCUM ramp from the WFC3 Instrument Handbook, chapter 5. WFC3/UVIS: the same handbook, chapters 5, 6 and 9.
    Widths: Koekemoer et al. 2011, CANDELS mosaics at 0.06 arcsec.
    """
    background = (sum(rates) + 4 * read_noise**2 / exposure) / pixel**2
    file = f"{camera}_{name}.dat"
    return Band(name, file, "nm", "hst", fwhm, pixel, exposure, _HST_AREA_CM2, background)


def _acs(name: str, fwhm: float, sky: float) -> Band:
    return _hst(name, "ACS_wfc", fwhm, 0.05, (sky, 0.012), 4.5, 2000.0)


def _wfc3_ir(name: str, fwhm: float, sky: float) -> Band:
    return _hst(name, "WFC3_ir", fwhm, 0.128, (sky, 0.048), 12.0, 2000.0)


def _wfc3_uvis(name: str, fwhm: float, sky: float) -> Band:
    return _hst(name, "WFC3_uvis", fwhm, 0.04, (sky, 0.002), 3.1, 2000.0)


def _rubin(name: str, fwhm: float, sky: float) -> Band:
    # Ten 30 s visits (about a year of the wide survey). Widths and dark-sky levels: Ivezic et al. 2019, table 2;
    # read noise and dark: SMTN-002.
    background = (sky + 0.2 + 10 * 8.8**2 / 300) / 0.2**2
    return Band(f"LSST_{name}", f"LSST_{name}.dat", "nm", "kolmogorov", fwhm, 0.2, 300.0, RUBIN_AREA_CM2, background)


BANDS: dict[str, Band] = {
    band.name: band
    for band in (
        _wfc3_uvis("F275W", 0.085, 0.0007),
        _wfc3_uvis("F336W", 0.085, 0.0012),
        _acs("F435W", 0.105, 0.0180),
        _acs("F606W", 0.105, 0.0851),
        _acs("F775W", 0.105, 0.0538),
        _acs("F814W", 0.105, 0.0755),
        _acs("F850LP", 0.11, 0.0371),
        _wfc3_ir("F105W", 0.15, 0.80),
        _wfc3_ir("F125W", 0.16, 0.80),
        _wfc3_ir("F160W", 0.175, 0.70),
        _rubin("u", 0.92, 1.0),
        _rubin("g", 0.87, 10.0),
        _rubin("r", 0.83, 22.0),
        _rubin("i", 0.80, 32.0),
        _rubin("z", 0.78, 50.0),
        _rubin("y", 0.76, 58.0),
    )
}
"""Known bands by name, from the ultraviolet to the near infrared: one orbit of HST, ten visits of Rubin."""
