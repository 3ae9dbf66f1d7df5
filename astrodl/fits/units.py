"""Calibration that headers tell: zero points, units, pixel scale."""

import math
import re
from collections.abc import Mapping
from typing import Any, Protocol

from astropy.io import fits

from astrodl.fits.header import ZERO_POINT_KEYS

_MICROJANSKY = 23.9
_JANSKY = 8.9
_UNIT = re.compile(
    r"(?:(\d[\d.]*(?:e[-+]?\d+)?) *\*? *)?(milli|micro|nano|[kmuµμnp]|)(jy|jansky|maggy|maggies|mgy)( */ *pix(el)?)?"
)
_CELESTIAL = re.compile(r"(RA--|DEC-|[A-Z]L(ON|AT)|[A-Z]{2}L[NT])-[A-Z]{3}")
_MOST_AXES = 9
_PREFIXES = {"k": 3, "mega": 6, "m": -3, "milli": -3, "u": -6, "µ": -6, "μ": -6, "micro": -6, "n": -9, "nano": -9}
_PREFIXES |= {"p": -12, "": 0}


class HasCards(Protocol):
    """What has header cards."""

    @property
    def cards(self) -> Mapping[str, Any]:
        """Values by keyword."""


class HasHeader(Protocol):
    """What has a header."""

    @property
    def header(self) -> fits.Header:
        """The header as astropy reads it."""


def zero_point(hdu: HasCards, primary: HasCards) -> float | None:
    """Find the AB magnitude of one count per pixel in the header, or in the primary header.

    In this order: a zero point (MAGZERO, MAGZPT, MAGZP, MAG_ZP, MAGZEROP, ZEROPNT, ZEROPT, PHOTZP, ZP); FLUXMAG0, the
    counts of magnitude zero that the Rubin and HSC pipelines write; PHOTFLAM and PHOTPLAM by
    ``-2.5 log10(PHOTFLAM) - 5 log10(PHOTPLAM) - 2.408`` (ACS Data Handbook, section 5.1.1), for counts per second;
    BUNIT if it is Jy, mJy, uJy, nJy, maggies or nanomaggies, or one of them times a number, or MJy/sr with the pixel's
    solid angle in PIXAR_SR (JWST User Documentation, "Flux units").
    """
    for cards in (hdu.cards, primary.cards):
        for key in ZERO_POINT_KEYS:
            value = _number(cards.get(key))
            if value is not None:
                return value
        for found in (_flux_of_zero(cards), _hst(cards), _unit_zero_point(cards)):
            if found is not None:
                return found
    return None


def to_microjansky(zero_point: float) -> float:
    """Give the factor from counts to microjansky: ``10 ** (-0.4 (zero_point - 23.9))``."""
    return float(10.0 ** (-0.4 * (zero_point - _MICROJANSKY)))


def pixel_scale_arcsec(hdu: HasHeader) -> float | None:
    """Give the pixel scale in arcsec of the celestial WCS, or None without one.

    The geometric mean of the lengths of the columns of CDi_j, or of CDELTi PCi_j (Greisen & Calabretta 2002, A&A 395,
    1061, section 2.1), as `astropy.wcs.utils.proj_plane_pixel_scales` gives them. Read from the cards, for wcslib can
    be made to hang by a header that contradicts itself.
    """
    try:
        header = hdu.header
        axes = [axis for axis in range(1, _MOST_AXES + 1) if _CELESTIAL.match(str(header.get(f"CTYPE{axis}", "")))]
        if len(axes) != 2:
            return None
        lengths = [math.hypot(*(_matrix(header, row, column) for row in axes)) for column in axes]
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, fits.VerifyError):
        return None  # cards that break the standard; a scale is a convenience, pixels are still good
    scale = 3600 * math.sqrt(math.prod(lengths))
    return scale if math.isfinite(scale) and scale > 0 else None


def _matrix(header: fits.Header, row: int, column: int) -> float:
    """Give an element of the matrix from pixels to degrees."""
    unit = {"deg": 1.0, "arcmin": 1 / 60, "arcsec": 1 / 3600, "rad": math.degrees(1)}
    degrees = unit[str(header.get(f"CUNIT{row}", "")).strip().lower() or "deg"]
    if any(f"CD{i}_{j}" in header for i in (1, 2, row) for j in (1, 2, column)):
        return degrees * float(header.get(f"CD{row}_{column}", 0.0))
    default = 1.0 if row == column else 0.0
    turned = header.get(f"PC{row}_{column}", header.get(f"PC{row:03d}{column:03d}", default))
    return degrees * float(header.get(f"CDELT{row}", 1.0)) * float(turned)


def _flux_of_zero(cards: Mapping[str, Any]) -> float | None:
    flux = _positive(cards, "FLUXMAG0")
    return 2.5 * math.log10(flux) if flux else None


def _hst(cards: Mapping[str, Any]) -> float | None:
    flam, plam = _positive(cards, "PHOTFLAM"), _positive(cards, "PHOTPLAM")
    if not flam or not plam:
        return None
    value = -2.5 * math.log10(flam) - 5 * math.log10(plam) - 2.408
    unit = str(cards.get("BUNIT", "")).strip().upper()
    if unit in ("ELECTRONS", "COUNTS"):  # totals, whereas PHOTFLAM is per second
        value += 2.5 * math.log10(_positive(cards, "EXPTIME") or 1.0)
    return value


def _unit_zero_point(cards: Mapping[str, Any]) -> float | None:
    unit = str(cards.get("BUNIT", "")).strip()
    solid_angle = 1.0
    if re.fullmatch(r"MJy */ *sr", unit):
        unit, solid_angle = "MJy", _positive(cards, "PIXAR_SR") or math.nan
    match = _UNIT.fullmatch(unit.lower())
    if match is None or math.isnan(solid_angle) or "MJY" in unit:  # the last may be mega or milli: nine orders apart
        return None
    prefix = "mega" if "MJ" in unit else match[2]
    number = float(match[1] or 1) * solid_angle
    magnitude = _JANSKY if match[3].startswith("j") else 0.0
    return magnitude - 2.5 * _PREFIXES[prefix] - 2.5 * math.log10(number) if number > 0 else None


def _positive(cards: Mapping[str, Any], key: str) -> float | None:
    value = _number(cards.get(key))
    return value if value is not None and value > 0 else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
