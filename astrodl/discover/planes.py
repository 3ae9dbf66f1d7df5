"""Find the planes that go with images: noise, masks, point-spread functions."""

import os
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from astrodl.discover.images import ImageInfo, read_image_info
from astrodl.discover.layout import Layout
from astrodl.discover.names import is_image_file, object_words, replace_word, role_of
from astrodl.discover.survey import MOST_FILES, Survey, template_fields

__all__ = ["find_planes"]

_COMMON_SHARE = 0.2
"""A bit of a mask that more pixels have does not mark bad pixels."""


def find_planes(survey: Survey, layout: Layout) -> dict[str, dict[str, Any]]:
    """Find the planes in the files of the images, or else in files beside them: role -> keys of its settings."""
    if layout.kind == "rgb":
        return {}
    return layout.planes or _planes_inside(layout) or _planes_beside(survey, layout)


def _planes_inside(layout: Layout) -> dict[str, dict[str, Any]]:
    """Find planes among the extensions of the file that holds the images."""
    planes: dict[str, dict[str, Any]] = {}
    per_band = layout.kind in ("extensions", "mosaic") and len(layout.bands) > 1
    for image in layout.content:
        extension = image.extension
        if image.role in ("image", "segmentation", "auxiliary") or extension is None:
            continue
        if isinstance(extension, str) and per_band and image.n_axes < 3:
            extension = _with_band(extension, layout)
        if extension is None:
            layout.notes.append(f"extension {image.extension} looks like {image.role}, but not every band has one")
        elif image.role not in planes:
            planes[image.role] = {"extension": extension} | (_bits(image) if image.role == "mask" else {})
    return planes


def _with_band(extension: str, layout: Layout) -> str | None:
    """Replace the name of a band in that of an extension by ``{band}``, if every band has such an extension."""
    extensions = {str(image.extension).casefold() for image in layout.content}
    names = [band.settings["name"] for band in layout.bands]
    for template in (replace_word(extension, name, "{band}", re.IGNORECASE) for name in names):
        if template != extension and extensions.issuperset(template.format(band=name).casefold() for name in names):
            return template
    return None


def _planes_beside(survey: Survey, layout: Layout) -> dict[str, dict[str, Any]]:
    """Find planes in files beside those of the images."""
    if survey.template is None:
        roles = sorted({role for band in survey.templates for role in _companions(survey, band)})
        if roles:
            files = ", ".join(roles)
            layout.notes.append(f"files of {files} beside the images are not used: no template with {{band}} fits")
        return {}
    band = next(iter(survey.templates))
    found = _companions(survey, band)
    if "segmentation" in found:
        layout.notes.append(f"segmentation maps: {found.pop('segmentation')} (not used)")
    planes: dict[str, dict[str, Any]] = {role: {"path": template} for role, template in found.items()}
    if "mask" in found:
        row = next(_rows_with_file(survey, band))
        planes["mask"] |= _bits(read_image_info(survey.root / survey.fill(found["mask"], row, band))[0])
    return planes


def _companions(survey: Survey, band: str) -> dict[str, str]:
    """Find the files whose names differ from that of the image only in words like `weight`: role -> path template."""
    rows = list(islice(_rows_with_file(survey, band), 20))
    image, template = survey.file(rows[0], band), survey.templates[band]
    fields = list(template_fields(os.path.basename(template)).values())
    companions: dict[str, str] = {}
    for path in sorted(islice(image.parent.iterdir(), MOST_FILES)):
        role, name = role_of(path.name), path.name
        if role == "image" or not is_image_file(name) or object_words(name) != object_words(image.name):
            continue
        for k, field in enumerate(fields):  # private characters first, so that no field is replaced again
            name = replace_word(name, survey.fill(field, rows[0], band), chr(0xE000 + k))
        for k, field in enumerate(fields):
            name = name.replace(chr(0xE000 + k), field)
        other = os.path.join(os.path.dirname(template), name)
        existing = ((survey.root / survey.fill(other, row, band)).is_file() for row in rows)
        if template_fields(other) == template_fields(template) and all(existing):
            companions.setdefault(role, other)
    return companions


def _rows_with_file(survey: Survey, band: str) -> Iterator[int]:
    return (row for row in survey.rows if survey.file(row, band).is_file())


def _bits(mask: ImageInfo) -> dict[str, Any]:
    """Choose the bits of a mask that mark bad pixels; by default every value but zero does."""
    rare = [bit for bit, share in mask.bits if share < _COMMON_SHARE]
    return {} if len(rare) == len(mask.bits) else {"bits": rare}
