"""The identity of the image files of objects, to see after an interruption whether files have changed since."""

import hashlib
import os
from collections.abc import Iterator, Sequence

from astrodl.config import DataSettings
from astrodl.ingestion.objects import ObjectEntry
from astrodl.ingestion.templates import Templates

__all__ = ["identify_files"]


def identify_files(data: DataSettings, root: str, entries: Sequence[ObjectEntry]) -> str:
    """Return the SHA-256 of names, sizes and times of the files of objects, whether they exist or not.

    Parameters
    ----------
    data, root
        Settings of the survey, and the resolved folder of the files.
    entries
        The objects.
    """
    digest = hashlib.sha256()
    known: dict[str, str] = {}
    for entry in entries:
        for name in _file_names(data, Templates(root, entry.fields)):
            if name not in known:
                known[name] = f"{name}\0{_size_and_time(os.path.join(root, name))}\0"
            digest.update(known[name].encode(errors="surrogatepass"))
    return digest.hexdigest()


def _file_names(data: DataSettings, templates: Templates) -> Iterator[str]:
    """Yield the files of an object: bands with noise, masks and PSF, and labels."""
    planes = [plane for plane in (data.noise, data.psf, *data.masks) if plane is not None]
    for band in data.bands:
        if band.path is None and data.path is None:  # a survey without images
            continue
        template = data.template(band)
        yield templates.text(template, band.name)
        yield from (templates.text(plane.template(template), band.name) for plane in planes)
    if data.labels is not None:
        yield templates.text(data.labels.path, "")


def _size_and_time(path: str) -> str:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # missing, not permitted, or a name with a null character
        return "none"
    return f"{status.st_size} {status.st_mtime_ns}"
