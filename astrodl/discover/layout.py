"""Decide from a catalogue and a look at some files how a survey is laid out."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from astrodl.discover.catalogue import Catalogue
from astrodl.discover.filters import blue_to_red, sound
from astrodl.discover.images import ImageView, Role, look_at, role_of, without_image_words
from astrodl.discover.paths import Paths
from astrodl.errors import DataError
from astrodl.fits.file import UnreadableError

N_LOOK = 5
N_LOOK_SMALL = 20
_SMALL_BYTES = 2 << 20


@dataclass
class Band:
    """A band as it was found: keys of its settings, and the images of it that were looked at."""

    settings: dict[str, Any]
    views: list[ImageView]


@dataclass
class Layout:
    """How a survey is laid out.

    Attributes
    ----------
    kind
        Layout of the configuration.
    why
        What it was seen from.
    bands
        In the order of the configuration.
    planes
        Role -> keys of its settings.
    extension
        Extension of all bands, or None.
    refused
        Files that could not be read, and why.
    n_looked
        Number of files that were looked at.
    notes
        What else was seen.
    content
        All images of one of the files.
    """

    kind: str
    why: str
    bands: list[Band]
    planes: dict[Role, dict[str, Any]] = field(default_factory=dict)
    extension: str | int | None = None
    refused: list[str] = field(default_factory=list)
    n_looked: int = 0
    notes: list[str] = field(default_factory=list)
    content: list[ImageView] = field(default_factory=list)

    @property
    def views(self) -> list[ImageView]:
        """All images that were looked at."""
        return [view for band in self.bands for view in band.views]


@dataclass
class Look:
    """The files that were looked at: band ("" where files hold all) -> images of each file."""

    files: dict[str, list[list[ImageView]]]
    refused: list[str]
    n_looked: int

    def views(self, band: str, key: str | int | None, role: Role = "image") -> list[ImageView]:
        """Collect the images of an extension over the files."""
        return [view for views in self.files[band] for view in views if view.extension == key and view.role == role]

    def first(self, band: str) -> list[ImageView]:
        """Give the images of the file that holds most."""
        return max(self.files[band], key=len)


def look(catalogue: Catalogue, paths: Paths) -> Look:
    """Look at files of the first, the last and some objects between.

    Raises
    ------
    DataError
        None of them can be read.
    """
    files: dict[str, list[list[ImageView]]] = {}
    refused: list[str] = []
    seen: dict[Path, list[ImageView]] = {}
    for band in paths.templates:
        files[band] = []
        small = paths.file(catalogue, paths.rows[0], band)
        n_look = 1 if paths.shared else N_LOOK_SMALL if _n_bytes(small) < _SMALL_BYTES else N_LOOK
        places = np.unique(np.linspace(0, len(paths.rows) - 1, n_look).round().astype(int))
        for row in (paths.rows[place] for place in places):
            path = paths.file(catalogue, row, band)
            if not path.is_file():
                continue
            try:
                seen[path] = seen[path] if path in seen else look_at(path)
                files[band].append(seen[path])
            except UnreadableError as error:
                refused.append(f"{path}: {error}")
        if not files[band]:
            reason = refused[0] if refused else f"{paths.templates[band]}: no such file"
            raise DataError(f"none of the files that were looked at can be read ({reason}); give readable images")
    return Look(files, refused, sum(map(len, files.values())) + len(refused))


def _n_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def decide(catalogue: Catalogue, paths: Paths) -> Layout:
    """Decide on the layout and the bands.

    Raises
    ------
    DataError
        No file can be read, or all objects share files and nothing tells where each is.
    """
    seen = look(catalogue, paths)
    first = seen.first(next(iter(paths.templates)))
    images = [view for view in first if view.role == "image"] or first
    if images[0].kind == "picture":
        layout = _picture(seen)
    elif paths.shared:
        layout = _shared(catalogue, paths, seen, images)
    elif len(paths.templates) > 1:
        layout = _file_per_band(paths, seen)
    else:
        layout = _file_per_object(seen, images)
    layout.refused, layout.n_looked = seen.refused, seen.n_looked
    layout.content = first
    return layout


# -- layouts -----------------------------------------------------------------------------------------------------------


def _picture(seen: Look) -> Layout:
    views = [views[0] for views in seen.files[next(iter(seen.files))]]
    names = views[0].bands
    order = list(reversed(range(len(names))))
    bands = [Band({"name": names[k], "plane": k}, views) for k in order]
    return Layout("rgb", "JPEG or PNG pictures, stretched for the eye: the values are no linear fluxes", bands)


def _file_per_band(paths: Paths, seen: Look) -> Layout:
    found = []
    for name, template in paths.templates.items():
        views = [next((v for v in views if v.role == "image"), views[0]) for views in seen.files[name]]
        settings: dict[str, Any] = {"name": name}
        if paths.by_band:
            settings = {"name": sound(views[0].bands[0] if len(views[0].bands) == 1 else name), "path": template}
        if _several(seen.first(name)):
            settings["extension"] = views[0].extension
        found.append(Band(settings, views))
    return Layout("files", "one file per object and band", _sorted(_distinct(found)))


def _file_per_object(seen: Look, images: list[ImageView]) -> Layout:
    first = images[0]
    several = _several(seen.first(""))
    if first.n_axes >= 3:
        extension = first.extension if several else None
        views = seen.views("", first.extension)
        return Layout(
            "cube", f"a cube of {first.shape[-3]} planes per object", _planes_of_cube(views), extension=extension
        )
    if len(images) == 1:
        extension = first.extension if several else None
        band = Band({"name": sound(first.bands[0]) if first.bands else "band1"}, seen.views("", first.extension))
        return Layout("files", "one file with one image per object", [band], extension=extension)
    bands = [Band(_named(view), seen.views("", view.extension)) for view in images]
    return Layout("extensions", f"{len(images)} image extensions per file", _sorted(_distinct(bands)))


def _shared(catalogue: Catalogue, paths: Paths, seen: Look, images: list[ImageView]) -> Layout:
    by_column = _extension_column(catalogue, seen)
    if by_column is not None:
        return _extension_per_object(catalogue, paths, seen, by_column)
    n_objects = len(catalogue)
    stacked = images[0].n_axes >= 4 or (images[0].n_axes == 3 and "x" not in catalogue.roles)
    if images[0].kind == "array" and stacked and images[0].shape[0] >= n_objects:
        return _arrays(images, n_objects)
    if n_objects == 1 and max(images[0].shape[-2:]) <= 1024:
        return _file_per_band(paths, seen) if len(paths.templates) > 1 else _file_per_object(seen, images)
    return _mosaic(catalogue, paths, seen, images)


def _extension_column(catalogue: Catalogue, seen: Look) -> str | None:
    """Find the column whose values are extensions of the one file, each object its own."""
    there = {str(view.extension).casefold() for view in seen.first(next(iter(seen.files)))}
    candidates = [name for name in catalogue.names if "psf" not in name.casefold() and catalogue.is_unique(name)]
    preferred = catalogue.roles.get("extension")
    candidates.sort(key=lambda name: name != preferred)
    if len(there) < max(2, len(catalogue) // 2):
        return None
    for name in candidates:
        values = [value.casefold() for value in catalogue.text(name)]
        if sum(value in there for value in values) > 0.5 * len(values) and (
            name == preferred or not values[0].isdigit()
        ):
            return name
    return None


def _extension_per_object(catalogue: Catalogue, paths: Paths, seen: Look, column: str) -> Layout:
    views = seen.first(next(iter(seen.files)))
    names = {band for view in views for band in view.bands} or set(
        catalogue.text("BAND") if "BAND" in catalogue.names else ()
    )
    band = Band({"name": sound(names.pop()) if len(names) == 1 else "band1"}, views)
    layout = Layout("files", f"one file with an extension per object, told by column {column}", [band])
    layout.extension = f"{{{column}}}"
    for name in catalogue.names:
        if "psf" in name.casefold() and catalogue.is_unique(name) and name != column:
            image = paths.file(catalogue, 0, next(iter(paths.templates)))
            for path in sorted(image.parent.iterdir()):
                if role_of(path.name) == "psf":
                    layout.planes["psf"] = {"path": str(path.relative_to(paths.root)), "extension": f"{{{name}}}"}
    return layout


def _arrays(images: list[ImageView], n_objects: int) -> Layout:
    why = f"arrays whose first axis has {images[0].shape[0]} elements, the catalogue has {n_objects} rows"
    views = [view for view in images if view.shape[0] >= n_objects]
    if views[0].n_axes >= 4:
        return Layout("arrays", why, _planes_of_cube(views[:1]), extension=views[0].extension)
    bands = [Band({"name": sound(str(view.extension)), "extension": view.extension}, [view]) for view in views]
    return Layout("arrays", why, _sorted(_distinct(bands)))


def _mosaic(catalogue: Catalogue, paths: Paths, seen: Look, images: list[ImageView]) -> Layout:
    if not {"ra", "x"} & catalogue.roles.keys():
        raise DataError(
            f"{catalogue.path}: all objects share {next(iter(paths.templates.values()))}, but no column tells where "
            "each is; the catalogue needs right ascension and declination, pixel positions, or an extension per row"
        )
    why = "images that all objects share, and positions in the catalogue"
    if len(paths.templates) > 1:
        return replace(_file_per_band(paths, seen), kind="mosaic", why=why)
    layout = _file_per_object(seen, images)
    if layout.kind == "extensions":
        for band in layout.bands:
            band.settings["extension"] = band.views[0].extension
    return replace(layout, kind="mosaic", why=why)


# -- bands -------------------------------------------------------------------------------------------------------------


def _several(views: list[ImageView]) -> bool:
    return len(views) > 1


def _named(view: ImageView) -> dict[str, Any]:
    """Name the band of an extension: after the filter in its header, or the extension itself."""
    if len(view.bands) == 1 and str(view.bands[0]).casefold() == str(view.extension).casefold():
        return {"name": sound(view.bands[0])}
    if isinstance(view.extension, str):
        name = sound(without_image_words(view.extension))
        return {"name": name} if name == view.extension else {"name": name, "extension": view.extension}
    name = view.bands[0] if len(view.bands) == 1 else f"band{view.extension}"
    return {"name": sound(name), "extension": view.extension}


def _planes_of_cube(views: list[ImageView]) -> list[Band]:
    n_planes = views[0].shape[-3]
    names = list(views[0].bands) if len(views[0].bands) == n_planes else [f"band{k + 1}" for k in range(n_planes)]
    bands = [Band({"name": sound(name), "plane": k}, views) for k, name in enumerate(names)]
    ordered = _sorted(_distinct(bands))
    if ordered == bands:
        for band in ordered:
            del band.settings["plane"]
    return ordered


def _distinct(bands: list[Band]) -> list[Band]:
    """Give numbers to bands that would have the same name."""
    names = [band.settings["name"] for band in bands]
    for k, band in enumerate(bands):
        if names.count(names[k]) > 1:
            band.settings["name"] = f"{names[k]}_{names[: k + 1].count(names[k])}"
    return bands


def _sorted(bands: list[Band]) -> list[Band]:
    return [bands[k] for k in blue_to_red([band.settings["name"] for band in bands])]


# -- sizes -------------------------------------------------------------------------------------------------------------


def stamp(views: Iterable[ImageView]) -> tuple[int, int, str]:
    """Choose the side of the stored cutout, and how many pixels to sum, from the extent of the central objects.

    Returns
    -------
    size, rebin, why
    """
    views = list(views)
    side = int(np.quantile([min(view.shape[-2:]) for view in views], 0.75))
    extents = [view.extent_pixels for view in views if view.extent_pixels > 0]
    wanted = min(1.3 * float(np.median(extents)), side) if extents else 0.0
    rebin = max(1, min(math.ceil(wanted / 64 - 0.25), side // 16))
    size = 64 if side >= 64 * rebin else max(16, side // rebin // 8 * 8)
    spans = f", the objects span about {np.median(extents):.0f} of them" if extents else ""
    sides = sorted({min(view.shape[-2:]) for view in views})
    have = f"{sides[0]}" if len(sides) == 1 else f"{sides[0]} to {sides[-1]}"
    return size, rebin, f"the images have {have} pixels on a side{spans}"
