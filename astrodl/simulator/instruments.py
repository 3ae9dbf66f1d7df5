"""Bands, depths and exposures of the known surveys, and their changes by the configuration.

candels
    HST/ACS and WFC3 at the 0.06 arcsec of the CANDELS mosaics (Grogin et al. 2011; Koekemoer et al. 2011) and the depth
    of one to two orbits: 5-sigma depths in apertures of 0.2 arcsec radius. The exposure, which sets the photon noise of
    the galaxies, is the one that reaches this depth with the sky and camera of `bands.BANDS`.
lsst
    Rubin's wide survey after ten years at 0.2 arcsec: point-source depths and numbers of visits of 30 s as designed
    (LSST Science Requirements Document, LPM-17; Ivezic et al. 2019, table 1), effective seeing by band (their table 2).
hst
    Any HST band for one orbit, with the noise of sky, dark current and read-out.
"""

from dataclasses import replace
from typing import Any

from astrodl.config import InstrumentSettings, SimulateSettings
from astrodl.errors import ConfigError
from astrodl.simulator.bands import BANDS, Band

__all__ = ["SURVEYS", "survey_bands"]

_CANDELS = {"F435W": 27.3, "F606W": 27.5, "F775W": 27.1, "F850LP": 26.8, "F160W": 26.6}
"""5-sigma depth."""
_LSST = {
    "u": (26.1, 56),
    "g": (27.4, 80),
    "r": (27.5, 184),
    "i": (26.8, 184),
    "z": (26.1, 160),
    "y": (24.9, 160),
}
"""5-sigma depth and number of visits."""


def _expose_to_depth(band: Band, depth: float, aperture_arcsec: float) -> Band:
    """Set the exposure that reaches a depth."""
    deep = replace(band, depth=depth, aperture_arcsec=aperture_arcsec)
    return replace(deep, exposure_s=band.background / deep.sky_sigma(1.0) ** 2)


SURVEYS: dict[str, dict[str, Band]] = {
    "candels": {name: _expose_to_depth(BANDS[name], depth, 0.2) for name, depth in _CANDELS.items()},
    "lsst": {
        name: replace(BANDS[f"LSST_{name}"], name=name, depth=depth, exposure_s=30.0 * visits)
        for name, (depth, visits) in _LSST.items()
    },
    "hst": {name: band for name, band in BANDS.items() if band.psf_kind == "hst"},
}
"""Bands of each survey; any other of the known bands may be added by its name."""


def survey_bands(settings: SimulateSettings) -> list[Band]:
    """Return the bands of a survey, with the changes in the configuration.

    Raises
    ------
    ConfigError
        A band is unknown, or the description of a new band is incomplete.
    """
    known = BANDS | SURVEYS[settings.survey]
    unused = [name for name in settings.instruments if name not in settings.bands]
    if unused:
        raise ConfigError(
            f"simulate.instruments: band '{unused[0]}' is not among simulate.bands "
            f"(accepted: {', '.join(settings.bands)}); add it there or remove it here"
        )
    bands = []
    for name in settings.bands:
        if name in settings.instruments:
            bands.append(_apply_settings(name, known.get(name), settings.instruments[name]))
        elif name in known:
            bands.append(known[name])
        else:
            accepted = ", ".join([*SURVEYS[settings.survey], *(n for n in BANDS if n not in SURVEYS[settings.survey])])
            raise ConfigError(
                f"simulate.bands: band '{name}' is not known (accepted: {accepted}); correct the name or describe "
                f"the band in simulate.instruments"
            )
    return bands


def _apply_settings(name: str, band: Band | None, settings: InstrumentSettings) -> Band:
    """Change a known band, or create a new one."""
    values = settings.model_dump(exclude_none=True)
    changes: dict[str, Any] = {_FIELDS[key]: value for key, value in values.items()}
    if "background" in changes:
        changes |= {"depth": None}
    if "depth" in changes:
        changes |= {"aperture_arcsec": settings.aperture_arcsec}
    if band is not None:
        return replace(band, **changes)
    missing = [key for key in ("throughput", "wave_type", "zero_point", "psf", "fwhm_arcsec") if key not in values]
    if settings.depth is None and settings.sky is None:
        missing.append("depth or sky")
    if missing:
        raise ConfigError(
            f"simulate.instruments.{name}: the description of a new band must be complete; "
            f"give {', '.join(missing)} as well"
        )
    defaults = {"native_pixel_arcsec": 0.0, "exposure_s": 1000.0}
    return Band(name=name, **(defaults | changes))


_FIELDS = {
    "throughput": "file",
    "wave_type": "wave_type",
    "zero_point": "given_zero_point",
    "psf": "psf_kind",
    "fwhm_arcsec": "psf_fwhm_arcsec",
    "depth": "depth",
    "aperture_arcsec": "aperture_arcsec",
    "sky": "background",
    "exposure_s": "exposure_s",
    "native_pixel_arcsec": "native_pixel_arcsec",
}
"""Key of the configuration -> field of `Band`."""
