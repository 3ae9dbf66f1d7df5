"""Check that arrays of all objects fit the catalogue."""

import os
from collections.abc import Iterator

from astrodl.config import DataSettings
from astrodl.config.templates import template_fields
from astrodl.errors import DataError
from astrodl.fits import UnreadableError
from astrodl.ingestion.arrays import ArrayFile
from astrodl.ingestion.band_image import RefusedError
from astrodl.ingestion.image_files import ImageFileCache
from astrodl.ingestion.objects import Objects
from astrodl.ingestion.templates import Templates

__all__ = ["require_equal_lengths"]


def require_equal_lengths(data: DataSettings, root: str, objects: Objects) -> None:
    """Check that arrays of all objects have an element for each row of the catalogue, and no other.

    With `index_column`, arrays may be longer than the catalogue. Arrays that cannot be read are passed over: the first
    object tells why.

    Raises
    ------
    DataError
        If arrays are shorter or longer, an index lies beyond them, objects have arrays of their own without
        `index_column`, or the file of all objects is FITS.
    """
    if data.layout != "arrays":
        return
    lengths = _find_lengths(data, root, objects)
    if not lengths:
        return
    name, length = next(iter(lengths.items()))
    for other, other_length in lengths.items():
        if other_length != length:
            raise DataError(
                f"array {other} has {other_length} elements, {name} has {length}; all arrays need the same objects in "
                "the same order"
            )
    if data.index_column is None and length != len(objects):
        raise DataError(
            f"array {name} has {length} elements, the catalogue has {len(objects)} rows; give a catalogue with a row "
            "for each element, or data.index_column with the place of each object, from 0"
        )
    if (last := int(objects.index.max())) >= length:
        why = ", it seems to count from 1" if objects.index.min() == 1 and last == length else ""
        raise DataError(
            f"data.index_column: {last} lies beyond array {name}, which has elements 0 to {length - 1}{why}; correct "
            "the column"
        )


def _find_lengths(data: DataSettings, root: str, objects: Objects) -> dict[str, int]:
    """Return the number of elements of the arrays that all objects share, those of bands first."""
    templates, files = Templates(root, objects.entries([0])[0].fields), ImageFileCache()
    lengths: dict[str, int] = {}
    for template, extension, band in _sources(data):
        try:
            name = templates.path(template, band)
            file = files.get(os.path.join(root, name)).file
            array = file.find(templates.extension(extension, band)) if isinstance(file, ArrayFile) else None
        except (UnreadableError, RefusedError):
            continue
        is_own = bool((template_fields(template) | template_fields(str(extension))) - {"band"})
        if array is None and not is_own:
            raise DataError(f"{name}: a FITS file of all objects, layout arrays reads HDF5 and NPZ; convert it")
        if array is not None and is_own and data.index_column is None:
            raise DataError(
                f"{name}: an array that depends on the object, in which the row of the catalogue is not its place; "
                "give data.index_column, or use layout cube or files for arrays of one object each"
            )
        if array is not None and not is_own:
            lengths[f"'{array.name}' of {name}"] = array.shape[0] if array.shape else 0
    return lengths


def _sources(data: DataSettings) -> Iterator[tuple[str, str | int | None, str]]:
    """Yield path template, extension and band of all images, of the planes that go with them, and of labels."""
    for band in data.bands:
        yield data.template(band), band.extension if band.extension is not None else data.extension, band.name
    for plane in filter(None, (data.noise, data.psf, *data.masks)):
        for band in data.bands:
            yield plane.template(data.template(band)), plane.extension, band.name
    if data.labels is not None:
        for extension in data.labels.extensions.values():
            yield data.labels.path, extension, ""
