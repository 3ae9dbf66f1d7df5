"""Band-passes that the simulator knows: throughput, AB zero point, sky noise and point-spread function.

The throughput tables are those that GalSim ships. Zero points follow from them and the collecting area, so that
magnitudes, colours and counts are consistent by construction; they agree with the published ones (WFC3/IR to a
millimagnitude, ACS/WFC to 0.03 mag). One count is one electron per second.

Trap: the headers of the WFC3/UVIS and the ACS and LSST tables all say or mean nanometres, but the CWW spectra are in
Angstrom; both are stated here explicitly and converted to Angstrom once.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from astrodl.errors import ConfigError

HST_AREA_CM2 = 45238.93
"""Collecting area that the HST throughput tables assume (synphot `primary_area`)."""
RUBIN_AREA_CM2 = np.pi * (642.3 / 2) ** 2
"""Rubin's effective collecting area, 6.423 m in diameter (SMTN-002)."""
_PHOTON_CONSTANT = 10 ** (-0.4 * 48.6) / 6.62607015e-27
"""f_nu of a zeroth-magnitude AB source over Planck's constant: photons / s / cm^2 per unit of ln(wavelength)."""


@dataclass(frozen=True)
class Band:
    """One band-pass with the camera and exposure behind it.

    The sky noise of a pixel is the sum of sky, dark and read noise of the native pixels, spread over the area:
    sigma^2 = (sky + dark + n_exposures read_noise^2 / exposure_s) / (exposure_s native_pixel^2) * pixel_scale^2.
    """

    name: str
    file: str
    """Name of the table in GalSim's `share/bandpasses`."""
    wave_type: Literal["nm", "Angstrom"]
    """Unit of the table's first column."""
    telescope: Literal["hst", "rubin"]
    psf_fwhm_arcsec: float
    """Full width at half maximum of the point-spread function, pixel response excluded."""
    native_pixel_arcsec: float
    sky: float
    """Sky level in electrons per second and native pixel."""
    dark: float
    """Dark current in electrons per second and native pixel."""
    read_noise: float
    """Read noise in electrons per native pixel and exposure."""
    exposure_s: float = 2000.0
    """Total exposure in seconds; 2,000 s is about one HST orbit on a band."""
    n_exposures: int = 4

    def throughput(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give wavelengths in Angstrom, evenly spaced over the band, and the throughput there."""
        return _throughput(self.file, self.wave_type)

    @property
    def wavelength(self) -> float:
        """Pivot wavelength in Angstrom."""
        wave, transmission = self.throughput()
        return float(np.sqrt(np.sum(transmission * wave) / np.sum(transmission / wave)))

    @property
    def zero_point(self) -> float:
        """AB magnitude of a source that gives one electron per second."""
        wave, transmission = self.throughput()
        area = HST_AREA_CM2 if self.telescope == "hst" else RUBIN_AREA_CM2
        rate = _PHOTON_CONSTANT * area * np.trapezoid(transmission / wave, wave)
        return float(2.5 * np.log10(rate))

    def sky_sigma(self, pixel_scale_arcsec: float) -> float:
        """Give the standard deviation of blank sky in electrons per second and pixel of the given side."""
        rate = self.sky + self.dark + self.n_exposures * self.read_noise**2 / self.exposure_s
        return float(np.sqrt(rate / self.exposure_s) * pixel_scale_arcsec / self.native_pixel_arcsec)

    def psf(self) -> Any:
        """Make the point-spread function, a GalSim object of unit flux without pixel response.

        HST: diffraction of the obstructed aperture with its four spider vanes, convolved with a Gaussian (charge
        diffusion, jitter, drizzling) that brings it to the tabulated width. Rubin: Kolmogorov seeing.
        """
        import galsim

        if self.telescope == "rubin":
            return galsim.Kolmogorov(fwhm=self.psf_fwhm_arcsec)
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

    wave, transmission = np.loadtxt(Path(galsim.meta_data.share_dir) / "bandpasses" / file, unpack=True)
    wave = wave * 10 if wave_type == "nm" else wave
    inside = np.flatnonzero(transmission > 1e-3 * transmission.max())
    grid = np.linspace(wave[max(inside[0] - 1, 0)], wave[min(inside[-1] + 1, len(wave) - 1)], 400)
    return grid, np.interp(grid, wave, transmission)


def _acs(name: str, fwhm: float, sky: float) -> Band:
    # Sky: average zodiacal light in the ACS team's table (adcam.pha.jhu.edu/instrument/detectors/zeropoint); dark and
    # read noise: ACS Instrument Handbook, chapter 4; widths: Koekemoer et al. 2011, CANDELS mosaics at 0.06 arcsec.
    return Band(name, f"ACS_wfc_{name}.dat", "nm", "hst", fwhm, 0.05, sky, 0.012, 4.5)


def _wfc3_ir(name: str, fwhm: float, sky: float) -> Band:
    # Sky: typical levels of WFC3 ISR 2014-11; dark and effective read noise of a MULTIACCUM ramp: WFC3 Instrument
    # Handbook, chapter 5; widths: Koekemoer et al. 2011.
    return Band(name, f"WFC3_ir_{name}.dat", "nm", "hst", fwhm, 0.128, sky, 0.048, 12.0)


def _wfc3_uvis(name: str, fwhm: float, sky: float) -> Band:
    # WFC3 Instrument Handbook, chapters 5, 6 and 9.
    return Band(name, f"WFC3_uvis_{name}.dat", "nm", "hst", fwhm, 0.04, sky, 0.002, 3.1)


def _rubin(name: str, fwhm: float, sky: float) -> Band:
    # Ten 30 s visits (about a year of the wide survey). Widths and dark-sky levels: LSST Science Requirements and
    # Ivezic et al. 2019, table 2; read noise and dark: SMTN-002.
    return Band(f"LSST_{name}", f"LSST_{name}.dat", "nm", "rubin", fwhm, 0.2, sky, 0.2, 8.8, 300.0, 10)


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
"""The known bands by name, from the ultraviolet to the near infrared."""


def get_band(name: str, key: str = "bands") -> Band:
    """Look a band up.

    Parameters
    ----------
    name
        Name of the band.
    key
        Configuration key to name in the message.

    Raises
    ------
    ConfigError
        The band is not known.
    """
    if name not in BANDS:
        raise ConfigError(f"{key}: band '{name}' is not known (accepted: {', '.join(BANDS)}); correct the name")
    return BANDS[name]
