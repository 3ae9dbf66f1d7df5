"""Find the planes that go with images: noise, masks, point-spread functions."""

from dataclasses import replace
from typing import Any

from astrodl.discover.catalogue import Catalogue
from astrodl.discover.images import ImageView, Role, look_at, words
from astrodl.discover.layout import Layout
from astrodl.discover.paths import Paths, fill
from astrodl.discover.search import companions

_TOO_MANY = 0.2


def add_planes(layout: Layout, catalogue: Catalogue, paths: Paths) -> None:
    """Add the planes among the extensions of the images' files, or in files beside them, to a layout."""
    if not layout.planes and layout.kind != "rgb":
        layout.planes = _inside(layout, layout.content) or _beside(catalogue, paths, layout)


def _inside(layout: Layout, views: list[ImageView]) -> dict[Role, dict[str, Any]]:
    """Find noise, masks and PSFs among the extensions of the file that holds the images."""
    planes: dict[Role, dict[str, Any]] = {}
    for view in views:
        if view.role in ("image", "segmentation") or view.extension is None:
            continue
        extension: str | int = view.extension
        each = layout.kind in ("extensions", "mosaic") and len(layout.bands) > 1 and view.n_axes < 3
        if isinstance(extension, str) and each:
            template = _with_band(extension, layout, {str(one.extension) for one in views})
            if template is None:
                layout.notes.append(f"extension {extension} looks like {view.role}, but not every band has one")
                continue
            extension = template
        planes.setdefault(view.role, {"extension": extension} | _mask_bits(view))
    return planes


def _mask_bits(view: ImageView) -> dict[str, Any]:
    """Choose the bits of a mask that take pixels away: not those which so many pixels have that they cannot be bad."""
    if view.role != "mask" or all(share < _TOO_MANY for _, share in view.bits):
        return {}
    return {"bits": [bit for bit, share in view.bits if share < _TOO_MANY]}


def _with_band(extension: str, layout: Layout, there: set[str]) -> str | None:
    """Put ``{band}`` in the place of a band's name in that of an extension; all bands must have theirs."""
    known = {name.casefold() for name in there}
    for band in layout.bands:
        name = band.settings["name"]
        for word in sorted(set(words(extension))):
            if word == name.casefold():
                start = extension.casefold().index(word) if len(word) > 1 else _alone(extension, word)
                template = f"{extension[:start]}{{band}}{extension[start + len(word) :]}"
                if all(template.format(band=one.settings["name"]).casefold() in known for one in layout.bands):
                    return template
    return None


def _alone(text: str, letter: str) -> int:
    """Find a letter that stands alone among signs."""
    low = f" {text.casefold()} "
    return next(
        k - 1 for k in range(1, len(low) - 1) if low[k] == letter and not (low[k - 1].isalpha() or low[k + 1].isalpha())
    )


def _beside(catalogue: Catalogue, paths: Paths, layout: Layout) -> dict[Role, dict[str, Any]]:
    """Find noise, masks and PSFs in files beside those of the images."""
    planes: dict[Role, dict[str, Any]] = {}
    if paths.by_band and len(paths.by_band) > 1:
        extra = {role for band in paths.by_band for role in companions(paths, catalogue, band)}
        if extra:
            layout.notes.append(
                f"files of {', '.join(sorted(extra))} lie beside, but no template with {{band}} names them"
            )
        return planes
    for role, template in companions(paths, catalogue, next(iter(paths.templates))).items():
        planes[role] = {"path": template}
        if role == "mask":
            row, band = paths.rows[0], next(iter(paths.templates))
            view = look_at(paths.root / fill(template, catalogue, row, band))[0]
            planes[role] |= _mask_bits(replace(view, role=role))
    if "segmentation" in planes:
        layout.notes.append(f"segmentation maps: {planes.pop('segmentation')['path']} (not used)")
    return planes
