"""Find out how a survey is laid out, from its catalogue and some of its files."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from astrodl.discover.images import ImageInfo, read_image_info
from astrodl.discover.names import blue_to_red, config_name, role_of, wavelength_nm, without_image_words
from astrodl.discover.survey import Survey
from astrodl.errors import DataError
from astrodl.fits import UnreadableError

__all__ = ["Band", "Layout", "choose_cutout", "detect_layout"]

_N_FILES, _N_SMALL_FILES = 5, 20
_SMALL_BYTES = 2 << 20


@dataclass
class Band:
    """A band: keys of its settings, and the images of it that were read."""

    settings: dict[str, Any]
    images: list[ImageInfo]

    def describe(self) -> str:
        """Describe size, scale, unit, zero point and missing pixels of the images."""
        first = self.images[0]
        sides = sorted({image.shape[-2:] for image in self.images})
        zeros = sorted({image.zero_point for image in self.images if image.zero_point is not None})
        shapes = [first.shape] if len(sides) == 1 else [sides[0], sides[-1]]
        parts = [" to ".join(" x ".join(map(str, reversed(shape))) for shape in shapes)]
        parts += [f"{first.pixel_scale_arcsec:.4g} arcsec/pixel"] if first.pixel_scale_arcsec else []
        parts += [f"unit {first.unit}"] if first.unit else []
        if len(zeros) > 1:
            parts.append(f"zero points {zeros[0]:.6g} to {zeros[-1]:.6g}, not the same in all files")
        elif first.source != "picture":
            parts.append(f"zero point {zeros[0]:.6g}" if zeros else "no zero point")
        for name, what in (("nan_share", "NaN"), ("zero_share", "exactly zero")):
            share = max(getattr(image, name) for image in self.images)
            parts += [f"up to {float(f'{100 * share:.2g}'):g} % {what}"] if share > 0 else []
        return ", ".join(parts)


@dataclass
class Layout:
    """Layout of a survey."""

    kind: str
    """`layout` of the configuration."""
    why: str
    bands: list[Band]
    extension: str | int | None = None
    """Extension of all bands, or None."""
    planes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Role -> keys of its settings."""
    content: list[ImageInfo] = field(default_factory=list)
    """All images of the file that holds most."""
    notes: list[str] = field(default_factory=list)
    """Unreadable files and other observations."""

    @property
    def images(self) -> list[ImageInfo]:
        """All images of the bands that were read."""
        return [image for band in self.bands for image in band.images]


def detect_layout(survey: Survey) -> Layout:
    """Read some files and find the layout and the bands.

    Raises
    ------
    DataError
        No file can be read, or all objects share files and the catalogue does not tell where each of them is.
    """
    files, notes = _read_files(survey)
    content = max(next(iter(files.values())), key=len)
    images, others = _choose_images(content)
    layout = _shared(survey, content, images) if survey.shared else None
    if layout is None:
        layout = _separate(survey, files, images)
        small = len(survey.catalogue) == 1 and max(images[0].shape[-2:]) <= 1024
        if survey.shared and not small and layout.kind != "rgb":
            _make_mosaic(layout, survey)
        if others:
            more = f" and {len(others) - 8} more" if len(others) > 8 else ""
            notes.append(f"not taken for bands: {', '.join(others[:8])}{more}")
    layout.content, layout.notes = content, notes
    return layout


def _choose_images(content: list[ImageInfo]) -> tuple[list[ImageInfo], list[str]]:
    """Choose the images that can be bands, and name those that are neither bands nor known planes.

    All bands have as many axes, in files of arrays the most that an array has, and the same size, unless they have the
    name of a filter.
    """
    images = [image for image in content if image.role == "image"] or content
    with_filter = {id(image) for image in images if wavelength_nm(str(image.extension)) is not None}
    n_alike = Counter(map(_kind, images))

    def rank(image: ImageInfo) -> tuple[int, bool, int]:
        return len(image.shape) if image.source == "array" else 0, id(image) in with_filter, n_alike[_kind(image)]

    n_axes, size = _kind(max(images, key=rank))
    alike = [image for image in images if _kind(image)[0] == n_axes]
    bands = [image for image in alike if image.shape[-2:] == size or id(image) in with_filter]
    others = [image for image in content if image.role in ("image", "auxiliary") and image not in bands]
    return bands, [str(image.extension) for image in others]


def _kind(image: ImageInfo) -> tuple[int, tuple[int, ...]]:
    """Return number of axes and size."""
    return image.n_axes if image.source == "fits" else len(image.shape), image.shape[-2:]


def _read_files(survey: Survey) -> tuple[dict[str, list[list[ImageInfo]]], list[str]]:
    """Read files of evenly spaced objects, more of them if they are small.

    Returns
    -------
    files
        Band -> images of each file.
    refused
        Files that cannot be read, with the reason.
    """
    files: dict[str, list[list[ImageInfo]]] = {}
    refused: list[str] = []
    read = cache(read_image_info)  # objects may share files
    for band, template in survey.templates.items():
        first = survey.file(survey.rows[0], band)
        small = not first.is_file() or first.stat().st_size < _SMALL_BYTES
        n_files = 1 if survey.shared else _N_SMALL_FILES if small else _N_FILES
        places = np.unique(np.linspace(0, len(survey.rows) - 1, n_files).round().astype(int))
        files[band] = []
        for path in filter(Path.is_file, (survey.file(survey.rows[place], band) for place in places)):
            try:
                files[band].append(read(path))
            except UnreadableError as error:
                refused.append(f"unreadable: {path}: {error}")
        if not files[band]:
            reason = refused[0] if refused else f"{template}: no such file"
            raise DataError(f"none of the files that were tried can be read ({reason}); give readable images")
    return files, refused


def _shared(survey: Survey, content: list[ImageInfo], images: list[ImageInfo]) -> Layout | None:
    """Find out whether a file has an extension per object, or arrays with all objects."""
    catalogue, first = survey.catalogue, images[0]
    extensions = {str(image.extension).casefold() for image in content}
    for role in [role for role in ("extension", "id") if role in catalogue.roles]:
        values = {value.casefold() for value in catalogue.text(catalogue.roles[role])}
        numbers = {value for value in values if role == "id" and value.isdigit()}  # may agree by chance
        if len(extensions & (values - numbers)) > 0.5 * len(catalogue):
            return _extension_per_object(survey, content, catalogue.roles[role])
    stacked = len(first.shape) >= 4 or (len(first.shape) == 3 and "x" not in catalogue.roles)
    if first.source != "array" or not stacked:
        return None
    if first.n_elements != len(catalogue) and "index" not in catalogue.roles:
        raise DataError(
            f"{next(iter(survey.templates.values()))}: array '{first.extension}' has {first.n_elements} elements, the "
            f"catalogue has {len(catalogue)} rows; give a catalogue with a row for each element, or a column `index` "
            "with the place of each object, from 0"
        )
    if "index" in catalogue.roles and (last := catalogue.numbers(catalogue.roles["index"]).max()) >= first.n_elements:
        raise DataError(
            f"{catalogue.path}: column '{catalogue.roles['index']}' goes up to {last:.0f}, array '{first.extension}' "
            f"has elements 0 to {first.n_elements - 1}; correct the column, or rename it if it is something else"
        )
    why = f"arrays whose first axis has {first.n_elements} elements, the catalogue has {len(catalogue)} rows"
    why += ", bands on the last axis" if first.bands_last else ""
    if len(first.shape) >= 4:
        return Layout("arrays", why, _planes_of_cube([first]), first.extension)
    arrays = [image for image in images if image.n_elements == first.n_elements]
    bands = [Band(_settings_of_extension(array) | {"extension": array.extension}, [array]) for array in arrays]
    return Layout("arrays", why, _ordered(bands))


def _extension_per_object(survey: Survey, content: list[ImageInfo], column: str) -> Layout:
    catalogue = survey.catalogue
    names = set(catalogue.text("BAND")) if "BAND" in catalogue.names else set()
    band = Band({"name": _filter(content, names.pop() if len(names) == 1 else "band1")}, content)
    layout = Layout("files", f"one file with an extension per object, in column {column}", [band], f"{{{column}}}")
    columns = [name for name in catalogue.names if "psf" in name.casefold() and catalogue.is_unique(name)]
    folder = survey.file(0, next(iter(survey.templates))).parent
    files = sorted(path for path in folder.iterdir() if role_of(path.name) == "psf")
    if columns and files:
        layout.planes["psf"] = {"path": str(files[0].relative_to(survey.root)), "extension": f"{{{columns[0]}}}"}
    return layout


def _separate(survey: Survey, files: dict[str, list[list[ImageInfo]]], images: list[ImageInfo]) -> Layout:
    """Find the bands of files that belong to one object each, or to one object and band."""
    first, everything = images[0], [image for file in next(iter(files.values())) for image in file]
    alike = [[one for one in everything if (one.extension, one.role) == (i.extension, i.role)] for i in images]
    if first.source == "picture":
        return Layout("rgb", "pictures: values scaled for display, not linear fluxes", _planes_of_cube(alike[0]))
    if "" not in files:
        bands = [_band_of_file(name, survey, files[name]) for name in files]
        return Layout("files", "one file per object and band", _ordered(bands))
    extension = first.extension if max(map(len, files[""])) > 1 else None
    if first.n_axes >= 3:
        where = " on the last axis" if first.bands_last else ""
        why = f"a cube of {first.shape[-3]} planes{where} per object"
        return Layout("cube", why, _planes_of_cube(alike[0]), extension)
    if len(images) == 1:
        band = Band({"name": _filter(alike[0], "band1")}, alike[0])
        return Layout("files", "one file with one image per object", [band], extension)
    bands = [Band(_settings_of_extension(image), others) for image, others in zip(images, alike, strict=True)]
    return Layout("extensions", f"{len(images)} image extensions per file", _ordered(bands))


def _make_mosaic(layout: Layout, survey: Survey) -> None:
    if not {"ra", "x"} & survey.catalogue.roles.keys():
        raise DataError(
            f"{survey.catalogue.path}: all objects share {next(iter(survey.templates.values()))}, but no column tells "
            "where each is; add right ascension and declination, pixel positions, or an extension per row"
        )
    for band in layout.bands if layout.kind == "extensions" else []:
        band.settings["extension"] = band.images[0].extension
    layout.kind, layout.why = "mosaic", "images that all objects share, and positions in the catalogue"


def _filter(images: list[ImageInfo], default: str) -> str:
    """Return the filter in the headers if there is exactly one, else the default."""
    filters = {band for image in images for band in image.bands}
    return config_name(filters.pop() if len(filters) == 1 else default)


def _band_of_file(name: str, survey: Survey, files: list[list[ImageInfo]]) -> Band:
    images = [next((image for image in file if image.role == "image"), file[0]) for file in files]
    settings: dict[str, Any] = {"name": name}
    if survey.template is None:
        settings = {"name": _filter(images, name), "path": survey.templates[name]}
    if max(map(len, files)) > 1:
        settings["extension"] = images[0].extension
    return Band(settings, images)


def _settings_of_extension(image: ImageInfo) -> dict[str, Any]:
    """Name the band of an extension by the filter in its header, or by its name."""
    extension = str(image.extension)
    name = _filter([image], f"band{extension}")
    if isinstance(image.extension, str) and name.casefold() != extension.casefold():
        name = config_name(without_image_words(extension))
    return {"name": name} | ({} if name.casefold() == extension.casefold() else {"extension": image.extension})


def _planes_of_cube(images: list[ImageInfo]) -> list[Band]:
    n_planes = images[0].shape[-3]
    names = images[0].bands if len(images[0].bands) == n_planes else [f"band{k + 1}" for k in range(n_planes)]
    bands = [Band({"name": config_name(name), "plane": k}, images) for k, name in enumerate(names)]
    ordered = _ordered(bands)
    for band in ordered if ordered == bands else []:
        del band.settings["plane"]
    return ordered


def _ordered(bands: list[Band]) -> list[Band]:
    """Add numbers to equal names of bands, and sort from blue to red."""
    names = [band.settings["name"] for band in bands]
    for k, band in enumerate(bands):
        if names.count(names[k]) > 1:
            band.settings["name"] = f"{names[k]}_{names[: k + 1].count(names[k])}"
    return [bands[k] for k in blue_to_red([band.settings["name"] for band in bands])]


def choose_cutout(images: Sequence[ImageInfo]) -> tuple[int, int, str]:
    """Choose the side of the stored cutout and the pixels to sum, from the extent of the central objects.

    Returns
    -------
    size, rebin, why
        Keys of the configuration and the reason.
    """
    sides = sorted(min(image.shape[-2:]) for image in images)
    side = int(np.quantile(sides, 0.75))
    extents = [image.extent_pixels for image in images if image.extent_pixels > 0]
    needed = min(1.3 * float(np.median(extents)), side) if extents else 0.0
    rebin = max(1, min(math.ceil(needed / 64 - 0.25), side // 16))
    size = 64 if side >= 64 * rebin else max(16, side // rebin // 8 * 8)
    have = f"{sides[0]}" if sides[0] == sides[-1] else f"{sides[0]} to {sides[-1]}"
    spans = f", the objects span about {np.median(extents):.0f}" if extents else ""
    return size, rebin, f"the images have {have} pixels on a side{spans}; the central {size * rebin} are kept"
