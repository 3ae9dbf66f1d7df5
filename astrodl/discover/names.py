"""Names of files, extensions and filters: what they say about the images."""

import re
from collections.abc import Sequence

__all__ = ["blue_to_red", "config_name", "extension_role", "is_image_file", "object_words", "replace_word", "role_of"]
__all__ += ["wavelength_nm", "without_image_words"]

_IMAGE_FILE = re.compile(r".*\.(fits|fit|fts|fz|jpg|jpeg|png|h5|hdf5|npz)(\.(gz|bz2|xz))?", re.IGNORECASE)
_ROLE_WORDS: dict[str, set[str]] = {
    "psf": {"psf", "psfs", "epsf", "prf"},
    "segmentation": {"seg", "segm", "segmap", "segmentation"},
    "mask": {"msk", "mask", "masks", "dq", "dqm", "flag", "flags", "bpm", "bad", "badpix", "ood"},
    "weight": {"wht", "weight", "weights", "wt", "ivar", "invvar", "oow"},
    "variance": {"var", "variance"},
    "sigma": {"sig", "sigma", "err", "error", "rms", "unc", "uncert", "uncertainty", "std", "noise"},
}
_AUXILIARY_WORDS = {"wcsdvarr", "d2imarr", "con", "ctx", "context", "samp", "nsamp", "time", "exp", "exptime", "expmap"}
_AUXILIARY_WORDS |= {"exposure", "nexp", "area", "wmap", "cov", "coverage", "footprint", "hits", "chi", "preview"}
_AUXILIARY_WORDS |= {"thumb", "thumbnail", "model", "models", "mod", "residual", "residuals", "resid", "res", "bkg"}
_AUXILIARY_WORDS |= {"background", "poisson", "rnoise", "flat"}  # JWST: the last three are parts of the variance
_IMAGE_WORDS = {"sci", "img", "image", "images", "im", "fit", "ooi", "drz", "drc", "data", "flux", "coadd", "int"}

_LETTERS = ("fuv", "nuv", "u", "b", "g", "v", "r", "i", "z", "y", "j", "h", "k")
_WAVELENGTH_NM = dict(zip(_LETTERS, (153, 230, 360, 440, 480, 550, 620, 760, 890, 1000, 1250, 1650, 2200), strict=True))
_WAVELENGTH_NM |= {"blue": 440, "green": 550, "red": 650, "ks": 2150, "w1": 3400, "w2": 4600}
_NIRCAM_LONG = {"250", "277", "300", "335", "356", "410", "430", "444", "460", "480"}


def is_image_file(name: str) -> bool:
    """Return whether a file has the suffix of an image."""
    return _IMAGE_FILE.fullmatch(name) is not None


def role_of(name: str) -> str:
    """Return whether a file or extension is an image or a plane that goes with one, by the words in its name."""
    found = set(_words(name))
    return next((role for role, known in _ROLE_WORDS.items() if known & found), "image")


def extension_role(name: str) -> str:
    """Return as `role_of` what an extension or array is, or ``auxiliary``: distortion tables, exposure, model ..."""
    last = name.rpartition("/")[2].casefold()
    return "auxiliary" if _AUXILIARY_WORDS.intersection([*_words(last), last]) else role_of(name)


def object_words(name: str) -> list[str]:
    """Return the words of a name without those for an image or a plane: equal for all files of one object."""
    ignored = _IMAGE_WORDS.union(*_ROLE_WORDS.values())
    return [word for word in _words(name) if word not in ignored]


def without_image_words(name: str) -> str:
    """Remove `SCI` and the like from the name of an extension, unless nothing is left."""
    parts = re.split(r"[\s_.-]+", name)
    return "_".join(part for part in parts if part.casefold() not in _IMAGE_WORDS) or name


def replace_word(text: str, word: str, new: str, flags: int = 0) -> str:
    """Replace the first `word` that is not part of a longer word or number."""
    before, after = (r"\d" if end.isdigit() else "[A-Za-z]" for end in (word[:1], word[-1:]))
    return re.sub(rf"(?<!{before}){re.escape(word)}(?!{after})", lambda _: new, text, count=1, flags=flags)


def wavelength_nm(name: str) -> float | None:
    """Return the approximate wavelength of a filter, None if its name is not known.

    The letters of broad bands are known, alone or after the name of a survey (``HSC_g``), and the names of HST and JWST
    filters: the number of ``F606W`` is in nm, up to 200 in 10 nm (``F160W``), as for the long filters of NIRCam
    (``F444W``).
    """
    word = re.split(r"[_\s.-]", name.casefold())[-1]
    number = re.fullmatch(r"f(\d{3})(?:w2?|m|n|x|lp)", word)
    if number:
        return float(number[1]) * (10 if int(number[1]) <= 200 or number[1] in _NIRCAM_LONG else 1)
    return _WAVELENGTH_NM.get(word)


def blue_to_red(names: Sequence[str]) -> list[int]:
    """Return the order of filters from blue to red; unchanged if one is not known or two have the same wavelength."""
    waves = [wavelength_nm(name) for name in names]
    known = [wave for wave in waves if wave is not None]
    if len(set(known)) < len(names):
        return list(range(len(names)))
    return sorted(range(len(names)), key=lambda k: known[k])


def config_name(name: str) -> str:
    """Convert text to a name that the configuration accepts."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name).lstrip("_.+-") or "band"


def _words(name: str) -> list[str]:
    """Divide a name into lower-case words and numbers, without `im` at the end of a word (`psfim`, `mskim`)."""
    parts = re.findall(r"[a-z]+|\d+", name.casefold())
    return [re.sub(r"(?<=.{3})im(g|age)?$", "", part) for part in parts]
