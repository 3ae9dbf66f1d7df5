"""Names of filters: which are usual, and their order from blue to red."""

import re
from collections.abc import Sequence

_LETTERS = ("fuv", "nuv", "u", "b", "g", "v", "r", "i", "z", "y", "j", "h", "k")
_WAVELENGTH_NM = dict(zip(_LETTERS, (153, 230, 360, 440, 480, 550, 620, 760, 890, 1000, 1250, 1650, 2200), strict=True))
_SPOKEN = {"blue": 440, "green": 550, "red": 650, "ks": 2150, "w1": 3400, "w2": 4600}
_NIRCAM_LONG = {"250", "277", "300", "335", "356", "410", "430", "444", "460", "480"}


def wavelength_nm(name: str) -> float | None:
    """Give the rough wavelength of a filter from its name, None where it says nothing.

    Known are the letters of broad bands, alone or after a survey's name (``HSC_g``), and names of HST and JWST: the
    number of ``F606W`` is in nm, up to 200 in 10 nm (``F160W``), as are the long filters of NIRCam (``F444W``).
    """
    word = re.split(r"[_\s.-]", name.casefold())[-1]
    number = re.fullmatch(r"f(\d{3})(?:w2?|m|n|x|lp)", word)
    if number:
        tens = int(number[1]) <= 200 or number[1] in _NIRCAM_LONG
        return float(number[1]) * (10 if tens else 1)
    return _SPOKEN.get(word, _WAVELENGTH_NM.get(word))


def blue_to_red(names: Sequence[str]) -> list[int]:
    """Give the order of filters from blue to red; as they are where a name says nothing or two say the same."""
    waves = [wavelength_nm(name) for name in names]
    known = [wave for wave in waves if wave is not None]
    if len(known) < len(names) or len(set(known)) < len(names):
        return list(range(len(names)))
    return sorted(range(len(names)), key=lambda k: known[k])


def sound(name: str) -> str:
    """Turn any text into a name that a configuration accepts."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name).lstrip("_.+-") or "band"
