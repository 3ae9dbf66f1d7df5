"""Find files without a template: beside a catalogue, and beside the images."""

import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from astrodl.discover.catalogue import Catalogue, is_image
from astrodl.discover.images import Role, bare, look_at, role_of
from astrodl.discover.paths import MOST_FILES, Paths, fields_of, fill, find
from astrodl.errors import DataError
from astrodl.fits.file import UnreadableError

_FEW = 100


def search(catalogue: Catalogue) -> Paths:
    """Look beside the catalogue for images, without a template.

    First for columns that hold names of files, then for files whose names contain an identifier, then for a few files
    that may hold all objects.

    Raises
    ------
    DataError
        Nothing was found.
    """
    folder = catalogue.path.parent
    templates = [f"{{{name}}}" for name in catalogue.file_columns if _any_exists(catalogue, name, folder)]
    if templates:
        return find(catalogue, [os.path.join(folder, template) for template in templates])
    files = [path for path in _files_below(folder) if path != catalogue.path]
    templates = _from_identifiers(catalogue, folder, files)
    if not templates:
        few = [path for path in files if role_of(path.name) == "image"]
        templates = [str(path.relative_to(folder)) for path in few if len(few) <= _FEW and _holds_images(path)]
    if not templates:
        raise DataError(
            f"{catalogue.path}: no images beside the catalogue have names that contain its values; "
            "give --images 'folder/{column}.fits'"
        )
    return find(catalogue, [os.path.join(folder, template) for template in templates])


def _holds_images(path: Path) -> bool:
    """Tell whether a file holds images: it may be a table in FITS."""
    try:
        return bool(look_at(path))
    except UnreadableError:
        return False


def _any_exists(catalogue: Catalogue, name: str, folder: Path) -> bool:
    return any((folder / value).is_file() for value in catalogue.text(name)[:100] if value)


def _files_below(folder: Path) -> list[Path]:
    """List images in a folder and two floors below it."""
    found: Iterable[Path] = (path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(depth))
    return sorted(path for path in islice(found, MOST_FILES) if is_image(path.name) and path.is_file())


def _from_identifiers(catalogue: Catalogue, folder: Path, files: list[Path]) -> list[str]:
    """Invent templates from files whose names contain a value of a column; those that most files follow."""
    best: dict[str, int] = {}
    for column in (name for name in catalogue.names if catalogue.is_unique(name)):
        values = set(catalogue.text(column))
        counts: dict[str, int] = {}
        for path in files:
            template = _with_field(path.name, column, values)
            if template is not None and role_of(template) == "image":
                name = str(path.relative_to(folder).parent / template)
                counts[name] = counts.get(name, 0) + 1
        # A name that a single file follows is chance, unless there is a single object.
        kept = {name: count for name, count in counts.items() if count >= min(3, len(catalogue))}
        if sum(kept.values()) > sum(best.values()):
            best = kept
    return sorted(best)


def _with_field(name: str, column: str, values: set[str]) -> str | None:
    """Put a field in the place of a value in the name of a file: the name up to its first dot, a number or a word."""
    for token in (name.partition(".")[0], *re.findall(r"\d+|[A-Za-z]+", name)):
        written = f"{{{column}}}" if token in values else f"{{{column}:0>{len(token)}}}"
        if token in values or (token.isdigit() and (token.lstrip("0") or "0") in values):
            kind = r"\d" if token[0].isdigit() else "[A-Za-z]"
            return re.sub(rf"(?<!{kind}){re.escape(token)}(?!{kind})", written, name, count=1)
    return None


def companions(found: Paths, catalogue: Catalogue, band: str) -> dict[Role, str]:
    """Find the files that go with those of a band: noise, masks, PSFs, segmentation maps.

    They lie in the same folder, and their names differ from that of the image only in words like `weight` or `psf`.

    Returns
    -------
    dict
        Role -> path template.
    """
    template = found.templates[band]
    row = next(row for row in found.rows if found.file(catalogue, row, band).is_file())
    image = found.file(catalogue, row, band)
    out: dict[Role, str] = {}
    for path in sorted(islice(image.parent.iterdir(), MOST_FILES)):
        role = role_of(path.name)
        if role == "image" or not is_image(path.name) or bare(path.name) != bare(image.name) or role in out:
            continue
        other = _same_fields(template, path, found, catalogue, row, band)
        if other is not None:
            out[role] = other
    return out


def _same_fields(template: str, path: Path, found: Paths, catalogue: Catalogue, row: int, band: str) -> str | None:
    """Put the fields of a template into the name of another file of the same object; it must hold for other objects."""
    name = path.name
    for field_name, spec in fields_of(template.rpartition("/")[2]):
        value = format(band if field_name == "band" else catalogue.text(field_name)[row], spec)
        written = f"{{{field_name}:{spec}}}" if spec else f"{{{field_name}}}"
        name = (
            re.sub(rf"(?<![A-Za-z{{]){re.escape(value)}(?![A-Za-z}}])", written, name, count=1)
            if len(value) < 3
            else name.replace(value, written, 1)
        )
    other = os.path.join(os.path.dirname(template), name)
    checked = [one for one in found.rows[:20] if found.file(catalogue, one, band).is_file()]
    there = [(found.root / fill(other, catalogue, one, band)).is_file() for one in checked]
    return other if all(there) and len(fields_of(other)) == len(fields_of(template)) else None
