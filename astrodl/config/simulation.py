"""Settings of a simulated survey."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from astrodl.config.section import Fraction, Name, Section

__all__ = ["SURVEY_DEFAULTS", "InstrumentSettings", "SimulateSettings"]


class InstrumentSettings(Section):
    """A band of a simulated survey: changes to a known one, or a new one."""

    throughput: str | None = None
    """Table of wavelength and throughput: its name among GalSim's band-passes, or the path of a text file."""
    wave_type: Literal["nm", "Angstrom"] | None = None
    """Unit of the wavelengths in the table."""
    zero_point: float | None = None
    """AB magnitude of one electron per second; by default from throughput and collecting area of a known band."""
    psf: Literal["hst", "kolmogorov", "moffat", "gaussian"] | None = None
    """Kind of point-spread function; `hst` is diffraction at HST's aperture convolved with a Gaussian."""
    fwhm_arcsec: Annotated[float, Field(gt=0)] | None = None
    """Full width at half maximum of the point-spread function, without the pixel."""
    depth: float | None = None
    """AB magnitude of a 5-sigma detection, which sets the noise of the sky."""
    aperture_arcsec: Annotated[float, Field(gt=0)] | None = None
    """Radius of the aperture for which `depth` holds; without it `depth` is that of a point source."""
    sky: Annotated[float, Field(gt=0)] | None = None
    """Instead of `depth`: sky level in electrons / s / arcsec^2, read noise and dark current included."""
    exposure_s: Annotated[float, Field(gt=0)] | None = None
    """Exposure in seconds: photon noise of the galaxies, and of the sky where `sky` is given (new bands: 1000)."""
    native_pixel_arcsec: Annotated[float, Field(gt=0)] | None = None
    """Side of a detector pixel, for `correlated_noise`; by default that of the cutouts."""

    @model_validator(mode="after")
    def _one_noise(self) -> "InstrumentSettings":
        if self.depth is not None and self.sky is not None:
            raise ValueError("give `depth` or `sky`, not both")
        return self


SURVEY_DEFAULTS: dict[str, dict[str, Any]] = {
    "candels": {
        "bands": ("F435W", "F606W", "F775W", "F850LP", "F160W"),
        "pixel_scale_arcsec": 0.06,
        "magnitude_limit": 24.0,
    },
    "lsst": {"bands": ("u", "g", "r", "i", "z", "y"), "pixel_scale_arcsec": 0.2, "magnitude_limit": 24.0},
    "hst": {"bands": ("F606W", "F814W"), "pixel_scale_arcsec": 0.06, "magnitude_limit": 24.0},
}
"""Defaults by name of the survey; `astrodl.simulator.instruments` describes the bands."""


class SimulateSettings(Section):
    """A simulated survey with known truth."""

    survey: Literal["candels", "lsst", "hst"] = "candels"
    """Whose bands, depths and point-spread functions, and the defaults of `bands`, `pixel_scale_arcsec` and
    `magnitude_limit`: HST's CANDELS, ten years of Rubin's LSST, or one orbit of HST in any band."""
    n_objects: Annotated[int, Field(ge=1, le=100_000_000)] = 3000
    """Number of galaxies."""
    size: Annotated[int, Field(ge=16, le=4096, multiple_of=8)] = 64
    """Side of a cutout in pixels."""
    pixel_scale_arcsec: Annotated[float, Field(gt=0)] = 0.06
    """Pixel scale in arcsec; 0.2 for `lsst`."""
    bands: Annotated[tuple[Name, ...], Field(min_length=1)] = ("F435W", "F606W", "F775W", "F850LP", "F160W")
    """Band-passes, blue to red: of the survey, of the library in `astrodl.simulator.bands`, or of `instruments`;
    u, g, r, i, z, y for `lsst`."""
    instruments: dict[Name, InstrumentSettings] = Field(default={})
    """Bands by name that differ from the survey's, or that it does not have."""
    truth_band: Name | None = None
    """Band of the bulge, disk and clump truth maps; by default the middle band."""
    magnitude_limit: Annotated[float, Field(gt=15, lt=30)] = 24.0
    """Faintest AB magnitude in the truth band."""
    count_slope: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Slope d log10 N / dm of the number counts; by default that of the luminosity functions. A flatter one gives more
    bright galaxies."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Shares of the classes: those of a flux-limited survey (0), equal shares (1), or in between."""
    template_scatter: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Deviation of real spectra from the templates, in magnitudes at optical wavelengths at rest; 0: none."""
    isophote: Annotated[float, Field(gt=15, lt=35)] = 26.0
    """Surface brightness in mag / arcsec^2 of the truth band down to which the truth's segmentation reaches."""
    neighbours_per_arcmin2: Annotated[float, Field(ge=0)] | None = None
    """Density of other galaxies of the population on the sky, anywhere in the stamp; by default a few fainter ones
    beside the galaxy."""
    correlated_noise: bool = False
    """Correlate the noise of neighbouring pixels as drizzling does, with the same variance."""
    variance: bool = False
    """Write the variance of each pixel as extensions `VAR_{band}`, which the ingestion then reads."""
    band_truth: bool = False
    """Write the bulge, disk and clump truth maps in all bands, and not only in the truth band."""
    structure_truth: bool = False
    """Write the light of bars and of spiral arms in the truth band, and ingest it with the segmentation as pixel labels
    `bar`, `arm` and `segment`."""
    votes: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Number of volunteers who vote on the class of each galaxy, in columns `votes_{class}`."""
    oddity_fraction: Fraction = 0.05
    """Fraction of objects that carry an injected oddity."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Seed of the whole survey."""

    @model_validator(mode="before")
    @classmethod
    def _survey_defaults(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {**SURVEY_DEFAULTS.get(str(given.get("survey")), {}), **given}
