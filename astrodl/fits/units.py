"""Zero points, flux units and pixel scales from FITS headers."""

import math
import re
from collections.abc import Mapping
from typing import Any, Protocol

from astropy.io import fits

from astrodl.fits.header import ZERO_POINT_KEYS

__all__ = ["MICROJANSKY_ZERO_POINT", "pixel_scale_arcsec", "to_microjansky", "zero_point"]

MICROJANSKY_ZERO_POINT = 23.9
"""AB magnitude of one microjansky."""
_JANSKY_ZERO_POINT = 8.9
_UNIT = re.compile(
    r"(?:(\d[\d.]*(?:e[-+]?\d+)?) *\*? *)?(milli|micro|nano|[kmuµμnp]|)(jy|jansky|maggy|maggies|mgy)( */ *pix(el)?)?"
)
_CELESTIAL = re.compile(r"(RA--|DEC-|[A-Z]L(ON|AT)|[A-Z]{2}L[NT])-[A-Z]{3}")
_MAX_AXES = 9
_PREFIXES = {"k": 3, "mega": 6, "m": -3, "milli": -3, "u": -6, "µ": -6, "μ": -6, "micro": -6, "n": -9, "nano": -9}
_PREFIXES |= {"p": -12, "": 0}


class _HasCards(Protocol):
    """An object with header cards."""

    @property
    def cards(self) -> Mapping[str, Any]:
        """Values by keyword."""


class _HasHeader(Protocol):
    """An object with a header."""

    @property
    def header(self) -> fits.Header:
        """The header as astropy reads it."""


def zero_point(hdu: _HasCards, primary: _HasCards) -> float | None:
    """Return the AB magnitude of one count per pixel from the header, or else from the primary header.

    The first of these that is present counts:

    1. a zero point (MAGZERO, MAGZPT, MAGZP, MAG_ZP, MAGZEROP, ZEROPNT, ZEROPT, PHOTZP, ZP);
    2. FLUXMAG0, the counts at magnitude zero (Rubin and HSC pipelines);
    3. PHOTFLAM and PHOTPLAM, ``-2.5 log10(PHOTFLAM) - 5 log10(PHOTPLAM) - 2.408`` for counts per second (ACS Data
       Handbook, section 5.1.1);
    4. BUNIT if it is Jy, mJy, uJy, nJy, maggies or nanomaggies, or a multiple of one of them, or MJy/sr with the solid
       angle of a pixel in PIXAR_SR (JWST User Documentation, "Flux units").

    Parameters
    ----------
    hdu, primary
        The HDU of the image and the primary HDU of its file.

    Returns
    -------
    float or None
        None if the headers give no zero point.
    """
    for cards in (hdu.cards, primary.cards):
        for key in ZERO_POINT_KEYS:
            value = _number(cards.get(key))
            if value is not None:
                return value
        for value in (_fluxmag0_zero_point(cards), _hst_zero_point(cards), _unit_zero_point(cards)):
            if value is not None:
                return value
    return None


def to_microjansky(zero_point: float) -> float:
    """Return the factor from counts to microjansky, ``10 ** (-0.4 (zero_point - 23.9))``, for an AB zero point."""
    return float(10.0 ** (-0.4 * (zero_point - MICROJANSKY_ZERO_POINT)))


def pixel_scale_arcsec(hdu: _HasHeader) -> float | None:
    """Return the pixel scale of the celestial WCS in arcsec per pixel, or None if there is no celestial WCS.

    The scale is the geometric mean of the lengths of the columns of CDi_j, or of CDELTi PCi_j (Greisen & Calabretta
    2002, A&A 395, 1061, section 2.1), as in `astropy.wcs.utils.proj_plane_pixel_scales`. It is computed from the cards
    because wcslib can hang on an inconsistent header.
    """
    try:
        header = hdu.header
        axes = [axis for axis in range(1, _MAX_AXES + 1) if _CELESTIAL.match(str(header.get(f"CTYPE{axis}", "")))]
        if len(axes) != 2:
            return None
        lengths = [math.hypot(*(_matrix(header, row, column) for row in axes)) for column in axes]
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, fits.VerifyError):
        return None  # cards that violate the standard; the pixels can still be used
    scale = 3600 * math.sqrt(math.prod(lengths))
    return scale if math.isfinite(scale) and scale > 0 else None


def _matrix(header: fits.Header, row: int, column: int) -> float:
    """Return an element of the matrix from pixels to degrees."""
    unit = {"deg": 1.0, "arcmin": 1 / 60, "arcsec": 1 / 3600, "rad": math.degrees(1)}
    degrees = unit[str(header.get(f"CUNIT{row}", "")).strip().lower() or "deg"]
    if any(f"CD{i}_{j}" in header for i in (1, 2, row) for j in (1, 2, column)):
        return degrees * float(header.get(f"CD{row}_{column}", 0.0))
    default = 1.0 if row == column else 0.0
    rotation = header.get(f"PC{row}_{column}", header.get(f"PC{row:03d}{column:03d}", default))
    return degrees * float(header.get(f"CDELT{row}", 1.0)) * float(rotation)


def _fluxmag0_zero_point(cards: Mapping[str, Any]) -> float | None:
    flux = _positive(cards, "FLUXMAG0")
    return 2.5 * math.log10(flux) if flux else None


def _hst_zero_point(cards: Mapping[str, Any]) -> float | None:
    flam, plam = _positive(cards, "PHOTFLAM"), _positive(cards, "PHOTPLAM")
    if not flam or not plam:
        return None
    value = -2.5 * math.log10(flam) - 5 * math.log10(plam) - 2.408
    unit = str(cards.get("BUNIT", "")).strip().upper()
    if unit in ("ELECTRONS", "COUNTS"):  # total counts; PHOTFLAM is for counts per second
        value += 2.5 * math.log10(_positive(cards, "EXPTIME") or 1.0)
    return value


def _unit_zero_point(cards: Mapping[str, Any]) -> float | None:
    unit = str(cards.get("BUNIT", "")).strip()
    solid_angle = 1.0
    if re.fullmatch(r"MJy */ *sr", unit):
        unit, solid_angle = "MJy", _positive(cards, "PIXAR_SR") or math.nan
    match = _UNIT.fullmatch(unit.lower())
    if match is None or math.isnan(solid_angle) or "MJY" in unit:  # MJY is mega or milli: ambiguous
        return None
    prefix = "mega" if "MJ" in unit else match[2]
    number = float(match[1] or 1) * solid_angle
    magnitude = _JANSKY_ZERO_POINT if match[3].startswith("j") else 0.0
    return magnitude - 2.5 * _PREFIXES[prefix] - 2.5 * math.log10(number) if number > 0 else None


def _positive(cards: Mapping[str, Any], key: str) -> float | None:
    value = _number(cards.get(key))
    return value if value is not None and value > 0 else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
