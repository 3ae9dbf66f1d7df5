"""Find the magnitudes or fluxes of a catalogue, with their errors and extinctions, by the names of its columns."""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from astrodl.discover.catalogue import Catalogue
from astrodl.discover.names import blue_to_red, config_name, wavelength_nm

__all__ = ["Photometry", "find_photometry"]

_ERRORS = {"err", "error", "errors", "e", "sigma", "sig", "rms", "unc", "uncertainty", "std"}
_WEIGHTS = {"ivar", "invvar"}
_VARIANCES = {"var", "variance"}
_EXTINCTIONS = ({"extinction"}, {"ext"}, {"a"})
_KINDS = {"mag": "magnitude", "mags": "magnitude", "magnitude": "magnitude", "flux": "flux", "f": "flux"}
_GLUED = re.compile(r"(e?)((?:[ugrizyjhkbv]|ks|w[12]|nuv|fuv)|)(mags?|flux)(err|error|ivar|)")
"""A word that is several: ``gmag``, ``magerr``, ``fluxivar``."""
_PREFERRED = ("cmodel", "model", "gaap", "auto", "total", "kron", "petro")
"""Kinds of total magnitudes, the best for colours and redshifts first."""
_POSSIBLE = (5.0, 35.0)
"""Median magnitudes."""


@dataclass(frozen=True)
class Photometry:
    """Photometry of a catalogue: settings of its bands, further keys of `data`, and where they were found."""

    bands: list[dict[str, Any]]
    settings: dict[str, Any]
    why: str


@dataclass(frozen=True)
class _Column:
    name: str
    band: str
    words: frozenset[str]
    """Words of the name beside the band."""
    kind: str
    """``magnitude``, ``flux``, or "" if the name does not say."""


def find_photometry(catalogue: Catalogue) -> Photometry | None:
    """Find the photometry of a catalogue: the kind of magnitudes or fluxes that most bands have; None if none has."""
    taken = set(catalogue.roles.values())
    parsed = (_parse(name) for name in catalogue.names if name not in taken)
    columns = [one for one in parsed if one is not None and np.isfinite(catalogue.numbers(one.name)).any()]
    families: dict[tuple[frozenset[str], str], list[_Column]] = defaultdict(list)
    for column in columns:
        kind = column.kind or "magnitude"
        is_measure = not column.words & (_ERRORS | _WEIGHTS | _VARIANCES) and column.words not in _EXTINCTIONS
        if is_measure and (kind == "flux" or _holds_magnitudes(catalogue, column.name)):
            families[column.words, kind].append(column)
    if not families:
        return None
    (words, kind), found = max(families.items(), key=lambda item: (len({c.band for c in item[1]}), -_rank(item[0][0])))
    unique: dict[str, _Column] = {}
    for column in found:
        unique.setdefault(column.band, column)
    order = blue_to_red(list(unique))
    bands: list[dict[str, Any]] = []
    settings: dict[str, Any] = {}
    for column in (list(unique.values())[k] for k in order):
        band = {"name": config_name(column.band), kind: column.name}
        error = _companion(columns, column, words, _ERRORS | (_WEIGHTS | _VARIANCES if kind == "flux" else set()))
        if error is not None:
            band["error"] = error.name
            if error.words & (_WEIGHTS | _VARIANCES):
                settings["error_kind"] = "weight" if error.words & _WEIGHTS else "variance"
        extinction = next((c for c in columns if c.band == column.band and c.words in _EXTINCTIONS), None)
        if extinction is not None:
            band["extinction"] = extinction.name
        bands.append(band)
    if not all("extinction" in band for band in bands):
        for band in bands:
            band.pop("extinction", None)
    n_errors = sum("error" in band for band in bands)
    errors = "with errors" if n_errors == len(bands) else f"{n_errors or 'none'} of {len(bands)} with errors"
    others = sorted({" ".join(sorted(other)) or kind for other, _ in families if other != words})
    also = f"; others are there, too ({', '.join(others[:5])})" if others else ""
    noun = "magnitudes" if kind == "magnitude" else "fluxes"
    return Photometry(bands, settings, f"{noun} in columns, {errors}, and no images{also}")


def _parse(name: str) -> _Column | None:
    """Divide the name of a column into its band and other words; None if it names no band, or two."""
    bands: list[str] = []
    words: set[str] = set()
    kind = ""
    for part in filter(None, re.split(r"[_\s.\-]+", name)):
        glued = _GLUED.fullmatch(part.casefold())
        if _is_band(part):
            bands.append(part)
        elif len(part) <= 3 and part[0] in "eE" and _is_band(part[1:]):
            bands.append(part[1:])
            words.add("err")
        elif glued:
            start = len(glued[1])
            bands += [part[start : start + len(glued[2])]] if glued[2] else []
            words |= {"err"} if glued[1] or glued[4].startswith("err") else set()
            words |= {"ivar"} if glued[4] == "ivar" else set()
            kind = _KINDS[glued[3]]
        else:
            for word in (word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", part)):
                kind = _KINDS.get(word, kind)
                words |= set() if word in _KINDS else {word}
    return _Column(name, bands[0], frozenset(words), kind) if len(bands) == 1 else None


def _is_band(word: str) -> bool:
    return wavelength_nm(word) is not None and "_" not in word


def _holds_magnitudes(catalogue: Catalogue, name: str) -> bool:
    values = catalogue.numbers(name)
    known = values[np.isfinite(values) & (values > -10) & (values < 40) & (values != 0)]
    return len(known) > len(values) // 2 and bool(_POSSIBLE[0] < np.median(known) < _POSSIBLE[1])


def _rank(words: frozenset[str]) -> int:
    return next((k for k, word in enumerate(_PREFERRED) if word in words), len(_PREFERRED) * (1 + bool(words)) // 2)


def _companion(columns: list[_Column], column: _Column, words: frozenset[str], marks: set[str]) -> _Column | None:
    """Return the column of the same band and words, with one of `marks` in addition."""
    for other in columns:
        marked = other.words & marks
        if other.band.casefold() == column.band.casefold() and marked and other.words - marked == words:
            return other
    return None
