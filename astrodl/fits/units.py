"""Zero points, flux units and pixel scales from FITS headers."""

import math
import re
import warnings
from collections import ChainMap
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

from astropy.io import fits

from astrodl.fits.bytes import UnreadableError
from astrodl.fits.header import ZERO_POINT_KEYS

__all__ = [
    "MICROJANSKY_ZERO_POINT",
    "ZERO_POINT_RANGE",
    "pixel_scale_arcsec",
    "to_microjansky",
    "unit_zero_point",
    "zero_point",
]

MICROJANSKY_ZERO_POINT = 23.9
"""AB magnitude of one microjansky."""
ZERO_POINT_RANGE = (-60.0, 45.0)
"""Plausible AB magnitudes of one count: from W/m2/Hz (-56.1) to a single electron of a long exposure."""
_JANSKY_ZERO_POINT = 8.9
_UNIT = re.compile(
    r"(?:(\d[\d.]*(?:e[-+]?\d+)?) *\*? *)?(milli|micro|nano|[kmuµμnp]|)(jy|jansky|maggy|maggies|mgy)"
    r"( */ *pix(el)?s?|[ .*]+pix(el)?s?(\^|\*\*)?-1)?"
)
_LOGARITHMIC = re.compile(r"(ab|st|vega|asinh|m|milli)?[ _-]?mags?(nitudes?)?\b.*|dex\b.*|db", re.IGNORECASE)
"""Units that are not linear in flux."""
_LEAST_PIVOT = 100.0
"""Pivot wavelengths are in Angstrom; smaller numbers are in another unit."""
_COUNT = r"(e-?|(photo)?electrons?|counts?|cts?|photons?|ph|dns?|adus?|data numbers?)"
_PER_PIXEL = r"([ */.]*pix(el)?s?(\^?-1)?)?"
_COUNTS = re.compile(_COUNT + _PER_PIXEL)
_COUNT_RATE = re.compile(
    rf"cps|{_COUNT}{_PER_PIXEL}( */ *| +per +)(s|secs?|seconds?){_PER_PIXEL}"
    rf"|{_COUNT}[ .*]+(s|secs?|seconds?) *(\^|\*\*)? *-1{_PER_PIXEL}"
)
_UNIT_NAMES = {"a": "Angstrom", "ang": "Angstrom", "angstrom": "Angstrom", "angstroms": "Angstrom", "cm": "cm"}
_UNIT_NAMES |= {"erg": "erg", "ergs": "erg", "hz": "Hz", "s": "s", "sec": "s", "w": "W"}
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
    3. BUNIT if it is a flux density per frequency (Jy, maggies, erg/s/cm2/Hz, or a multiple), one per wavelength with
       the pivot wavelength in PHOTPLAM, or MJy/sr with the solid angle of a pixel in PIXAR_SR (JWST User
       Documentation, "Flux units");
    4. PHOTFLAM and PHOTPLAM, ``-2.5 log10(PHOTFLAM) - 5 log10(PHOTPLAM) - 2.408`` for counts per second (ACS Data
       Handbook, section 5.1.1), and ``+ 2.5 log10(EXPTIME)`` for counts.

    Cards that the header lacks are those of the primary header, unless INHERIT is F: PHOTFLAM is in the extension and
    EXPTIME in the primary header of HST images.

    Parameters
    ----------
    hdu, primary
        The HDU of the image and the primary HDU of its file.

    Returns
    -------
    float or None
        None if the headers give no zero point.

    Raises
    ------
    UnreadableError
        If the value of a card is not a number or not plausible, or the pixels are magnitudes.
    """
    own = hdu.cards
    inherited = {} if own.get("INHERIT") is False else primary.cards
    cards = ChainMap(dict(own), dict(inherited))
    unit = str(cards.get("BUNIT", "")).strip()
    if _LOGARITHMIC.fullmatch(unit):
        raise UnreadableError(f"BUNIT is {unit!r}, pixels must be linear in flux; convert the image, or correct it")
    for header in (own, inherited):
        for key in ZERO_POINT_KEYS:
            if _is_given(header, key):
                return _require_plausible(key, header[key])
        if _is_given(header, "FLUXMAG0"):
            return _require_plausible("FLUXMAG0", 2.5 * math.log10(_require_positive(header, "FLUXMAG0")))
        if _is_given(header, "BUNIT") and (value := _unit_zero_point(cards)) is not None:
            return _require_plausible("BUNIT", value)
        if _is_given(header, "PHOTFLAM") and _is_given(cards, "PHOTPLAM"):
            return _require_plausible("PHOTFLAM", _hst_zero_point(cards))
    return None


def unit_zero_point(unit: str) -> float | None:
    """Return the AB magnitude of one unit of flux density per frequency, such as "nanomaggy"; None for other units."""
    return _unit_zero_point({"BUNIT": unit})


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


def _hst_zero_point(cards: Mapping[str, Any]) -> float:
    pivot = _require_positive(cards, "PHOTPLAM")
    if pivot < _LEAST_PIVOT:
        raise UnreadableError(
            f"PHOTPLAM is {pivot:g}, accepted are wavelengths in Angstrom, {_LEAST_PIVOT:g} or more; correct the "
            "header or give the band's zero_point"
        )
    value = _flux_per_wavelength(_require_positive(cards, "PHOTFLAM"), pivot)
    unit = str(cards.get("BUNIT", "")).strip()
    plain = re.sub(r"[()]", "", unit.lower())
    if _COUNTS.fullmatch(plain):
        return value + 2.5 * math.log10(_require_positive(cards, "EXPTIME"))
    if unit and not _COUNT_RATE.fullmatch(plain):
        raise UnreadableError(
            f"BUNIT is {unit!r}, with PHOTFLAM counts or counts per second are accepted; give the band's zero_point"
        )
    return value


def _flux_per_wavelength(flux: float, pivot: float) -> float:
    """Return the AB magnitude of a flux in erg/s/cm2/Angstrom at a pivot wavelength in Angstrom."""
    return -2.5 * math.log10(flux) - 5 * math.log10(pivot) - 2.408


def _unit_zero_point(cards: Mapping[str, Any]) -> float | None:
    unit = str(cards.get("BUNIT", "")).strip()
    solid_angle = 1.0
    if re.fullmatch(r"MJy */ *sr|MJy sr(-1|\^-1|\*\*-1)", unit):
        unit = "MJy"
        solid_angle = _require_positive(cards, "PIXAR_SR") if _is_given(cards, "PIXAR_SR") else math.nan
    match = _UNIT.fullmatch(unit.lower())
    if match is None:
        pivot = _positive(cards, "PHOTPLAM")
        return _energy_zero_point(unit, pivot if pivot is None or pivot >= _LEAST_PIVOT else None)
    if math.isnan(solid_angle) or "MJY" in unit or "PJ" in unit:  # MJY is mega or milli: ambiguous; PJy is peta
        return None
    prefix = "mega" if "MJ" in unit else match[2]
    number = float(match[1] or 1) * solid_angle
    magnitude = _JANSKY_ZERO_POINT if match[3].startswith("j") else 0.0
    return magnitude - 2.5 * _PREFIXES[prefix] - 2.5 * math.log10(number) if number > 0 else None


@lru_cache(maxsize=256)
def _energy_zero_point(unit: str, pivot: float | None) -> float | None:
    """Return the zero point of a unit such as erg/s/cm2/Hz, or erg/s/cm2/Angstrom at the pivot wavelength."""
    if not re.search(r"erg|W", unit, re.IGNORECASE) or re.search(r"\d{4}", unit):
        return None
    from astropy import units  # takes a moment to import, and few files need it

    spelled = re.sub(r"[A-Za-z]+", lambda name: _UNIT_NAMES.get(name[0].lower(), name[0]), unit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of several slashes, which are common
        try:
            parsed = units.Unit(spelled)
            if parsed.is_equivalent(units.Jy):
                return _JANSKY_ZERO_POINT - 2.5 * math.log10(parsed.to(units.Jy))
            flux = parsed.to("erg s-1 cm-2 Angstrom-1")
        except (ValueError, TypeError, ArithmeticError):  # not a unit, or another one
            return None
    return _flux_per_wavelength(flux, pivot) if pivot is not None and flux > 0 else None


def _is_given(cards: Mapping[str, Any], key: str) -> bool:
    """Return whether a card has a value; the FITS standard knows cards without one."""
    value = cards.get(key)
    return value is not None and not isinstance(value, fits.card.Undefined) and value != ""


def _require_plausible(key: str, value: Any) -> float:
    number = _number(value)
    low, high = ZERO_POINT_RANGE
    if number is None or not low <= number <= high:
        raise UnreadableError(
            f"{key} is {value!r}, accepted are AB magnitudes from {low:g} to {high:g}; correct the header or give the "
            "band's zero_point"
        )
    return number


def _require_positive(cards: Mapping[str, Any], key: str) -> float:
    value = _positive(cards, key)
    if value is None:
        state = f"is {cards[key]!r}" if _is_given(cards, key) else "is missing"
        raise UnreadableError(f"{key} {state}, the zero point needs a number above 0; give the band's zero_point")
    return value


def _positive(cards: Mapping[str, Any], key: str) -> float | None:
    value = _number(cards.get(key))
    return value if value is not None and value > 0 else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
