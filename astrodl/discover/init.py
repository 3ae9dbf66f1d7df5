"""`astrodl init`: from a catalogue and a few images to the draft of a configuration."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.atomic import write_text
from astrodl.config import DataSettings, SplitSettings, parse
from astrodl.discover.catalogue import Catalogue, look_at_catalogue
from astrodl.discover.draft import Draft, wrapped
from astrodl.discover.filters import sound
from astrodl.discover.layout import Band, Layout, decide, stamp
from astrodl.discover.paths import Paths, find
from astrodl.discover.planes import add_planes
from astrodl.discover.search import search
from astrodl.errors import ConfigError, DataError
from astrodl.splits import assign

_SKY_SIGMA = 0.3
_ZERO_SHARE = 0.01
_LONG = 100_000
_TRIES: tuple[dict[str, Any], ...] = (
    {},
    *({"nside": nside, "seed": seed} for nside in (1024, 4096, 16384) for seed in range(5)),
    *({"validation": 0.2, "test": 0.3, "nside": 16384, "seed": seed} for seed in range(20)),
)
"""Divisions to try, until one has its share of objects in each part."""


def init(catalog: Path, images: Sequence[str], out: Path, *, name: str | None = None, force: bool = False) -> str:
    """Look at a survey, write the draft of its configuration, and say what was seen.

    Parameters
    ----------
    catalog
        Table with a row per object.
    images
        Path templates; empty: look beside the catalogue.
    out
        YAML file to write.
    name
        Name of the survey; by default that of its folder.
    force
        Overwrite `out`.

    Returns
    -------
    str
        What was seen, line by line.

    Raises
    ------
    ConfigError
        `out` exists.
    DataError
        The catalogue or the images cannot be used.
    """
    if out.exists() and not force:
        raise ConfigError(f"{out}: exists already; give another --out, or --force to overwrite it")
    catalogue = look_at_catalogue(catalog)
    paths = find(catalogue, list(images)) if images else search(catalogue)
    layout = decide(catalogue, paths)
    add_planes(layout, catalogue, paths)
    draft = make_draft(catalogue, paths, layout, name or sound(paths.root.name))
    if not draft.unfinished:
        parse(DataSettings, draft.data, str(out))
    write_text(out, draft.text(_heading(catalogue, paths, layout)))
    return "\n".join(_report(catalogue, paths, layout, draft, out))


def make_draft(catalogue: Catalogue, paths: Paths, layout: Layout, name: str) -> Draft:
    """Turn what was seen into a configuration with reasons and questions."""
    draft = Draft(name)
    _place(draft, catalogue, paths, layout)
    _bands(draft, catalogue, layout)
    _columns(draft, catalogue, layout)
    _planes(draft, layout)
    _pixels(draft, catalogue, layout)
    missing = 1 - len(paths.rows) / paths.n_looked
    if missing > 0:
        share = min(math.ceil(100 * missing + 5) / 100, 0.999)
        why = f"{_have_files(paths)}; the others go to quarantine.ecsv"
        draft.set("max_bad_fraction", share, why)
    _split(draft, catalogue, paths)
    return draft


def _place(draft: Draft, catalogue: Catalogue, paths: Paths, layout: Layout) -> None:
    root = _shown(paths.root)
    draft.set("root", root, "" if os.path.isabs(root) else "from the folder in which you run astrodl")
    table = os.path.realpath(catalogue.path)
    inside = table.startswith(str(paths.root).rstrip("/") + "/")
    draft.set("catalog", os.path.relpath(table, paths.root) if inside else str(catalogue.path))
    draft.set("layout", layout.kind, layout.why)
    if paths.by_band:
        return
    share = "" if paths.shared else _have_files(paths)
    draft.set("path", paths.template, "; ".join([*filter(None, [share]), *paths.notes]))
    if layout.extension is not None:
        draft.set("extension", layout.extension)


def _bands(draft: Draft, catalogue: Catalogue, layout: Layout) -> None:
    draft.set("bands", [band.settings for band in layout.bands])
    unknown = []
    for k, band in enumerate(layout.bands):
        draft.why[f"bands.{k}"] = _zero_point(band)
        if layout.kind != "rgb" and any(view.zero_point is None for view in band.views):
            unknown.append(band.settings["name"])
    if unknown:
        none = len(unknown) == len(layout.bands)
        names, others = ", ".join(unknown), "" if none else ", those of the other bands too"
        draft.ask(
            "bands",
            f"zero_point: ?  no MAGZERO, PHOTFLAM or BUNIT in the headers of {names}; give each of them the AB "
            f"magnitude of one count, as in {{name: {unknown[0]}, zero_point: 25.0}}; fluxes stay relative until you "
            f"do{others}",
        )
    if any(band.settings["name"].startswith("band") for band in layout.bands):
        draft.ask(
            "bands", "name: ?  neither headers nor file names tell the filters; rename the bands as they are called"
        )


def _zero_point(band: Band) -> str:
    values = {view.zero_point for view in band.views if view.zero_point is not None}
    if not values:
        return ""
    source = next(view.zero_from for view in band.views if view.zero_from)
    if len(values) > 1:
        return f"zero points {min(values):.6g} to {max(values):.6g} from {source}, not the same in all files"
    return f"zero point {values.pop():.6g} from {source}"


def _columns(draft: Draft, catalogue: Catalogue, layout: Layout) -> None:
    roles = catalogue.roles
    if "id" in roles:
        draft.set("id_column", roles["id"], f"{len(catalogue):,} different values")
    else:
        draft.set("id_column", "?", "no column has a value of its own in each row")
        draft.unfinished.append("the catalogue needs a column that identifies each object, named in id_column")
    pixels = (
        layout.kind == "mosaic"
        and "x" in roles
        and ("ra" not in roles or not any(view.pixel_scale_arcsec for view in layout.views))
    )
    if "ra" in roles:
        draft.set("ra_column", roles["ra"], "degrees; neighbours on the sky stay in the same split")
        draft.set("dec_column", roles["dec"])
    if pixels:
        draft.set(
            "x_column", roles["x"], "pixels of the image" + ("" if "ra" in roles else ", which has no WCS to use")
        )
        draft.set("y_column", roles["y"])
        one = roles["x"].casefold().endswith("_image")  # SExtractor
        draft.set("pixel_origin", int(one), "SExtractor counts from 1" if one else "?  1 if the first pixel is (1, 1)")
    if layout.kind == "arrays" and "index" in roles:
        draft.set("index_column", roles["index"], "place of the object in the arrays, from 0")
    if "ebv" in roles:
        draft.set("ebv_column", roles["ebv"], "offered to the redshift network")
    _labels(draft, catalogue)


def _labels(draft: Draft, catalogue: Catalogue) -> None:
    """Keep redshifts and classes, and choose the tasks that can learn from them."""
    roles, columns, why = catalogue.roles, {}, []
    if "z" in roles or "z_phot" in roles:
        role = "z" if "z" in roles else "z_phot"
        columns["z"] = roles[role]
        z = catalogue.finite(role)
        n_known = f"{len(z):,} redshifts, {z.min():.3g} to {z.max():.3g}"
        draft.tasks["photoz"] = n_known + (
            "" if role == "z" else "; photometric ones: the network learns to imitate them"
        )
        if role == "z" and "z_phot" in roles:
            columns["z_phot"] = roles["z_phot"]
    if "class" in roles:
        columns["class"] = roles["class"]
        classes = catalogue.classes()
        draft.tasks["morphology"] = f"{len([name for name, _ in classes if name != '(none)'])} classes"
        why = ["classes: " + ", ".join(f"{name} {count}" for name, count in classes)]
        draft.ask("columns", 'replace: {class: {unsure: ""}}  would rename classes; "" is unknown, and not learnt from')
    draft.tasks |= {"latent": "needs no labels", "outliers": "needs no labels"}
    if columns:
        draft.set("columns", columns, "; ".join(why))
    if "class" in roles and not catalogue.is_text(roles["class"]):
        names = {name: name for name, _ in catalogue.classes() if name != "(none)"}
        draft.set("replace", {"class": names}, "?  what the numbers of the classes mean")


def _planes(draft: Draft, layout: Layout) -> None:
    for role, settings in layout.planes.items():
        if role in ("variance", "sigma", "weight"):
            draft.set("noise", {**settings, "kind": role}, "by its name")
        elif role == "mask":
            every = "?  every value but zero masks a pixel; else give `bits` or `values`"
            some = "?  the other bits are set in so many pixels that they cannot mean that they are bad"
            draft.set("masks", [settings], some if "bits" in settings else every)
        elif role == "psf":
            draft.set("psf", settings, "by its name")


def _pixels(draft: Draft, catalogue: Catalogue, layout: Layout) -> None:
    views = layout.views
    if layout.kind == "mosaic":
        draft.set("size", 64, "?  pixels on a side of a cutout; how large are your galaxies?")
    else:
        size, rebin, why = stamp(views)
        draft.set("size", size, f"{why}; the central {size * rebin} are kept")
        if rebin > 1:
            draft.set(
                "rebin", rebin, f"?  {rebin} x {rebin} pixels are summed; 1 keeps the resolution, raise size then"
            )
    scales = [view.pixel_scale_arcsec for view in views if view.pixel_scale_arcsec]
    column = catalogue.roles.get("pixel_scale")
    if not scales and column is not None and len(set(catalogue.text(column))) == 1:
        scale = float(catalogue.finite("pixel_scale")[0]) * draft.data.get("rebin", 1)
        draft.set("pixel_scale_arcsec", scale, f"of the stored cutout, from column {column}")
    elif not scales:
        draft.ask("size", "pixel_scale_arcsec: ?  no WCS in the headers; sizes stay in pixels until you give it")
    if layout.kind != "rgb" and max((view.zero_share for view in views), default=0) > _ZERO_SHARE:
        share = max(view.zero_share for view in views if np.isfinite(view.zero_share))
        draft.set("zero_is_missing", True, f"up to {100 * share:.0f} % of an image are exactly zero: not observed?")
    skies = [abs(view.sky_in_sigma) for view in views if np.isfinite(view.sky_in_sigma)]
    if layout.kind != "mosaic" and skies and np.median(skies) > _SKY_SIGMA:
        draft.set("background", "border", f"the borders stand {np.median(skies):.2g} sigma off zero (median)")


def _split(draft: Draft, catalogue: Catalogue, paths: Paths) -> None:
    """Choose a division in which no part is empty: the default one, smaller cells, or another seed.

    The whole catalogue is divided, as ingestion does; that the rows which have files are well divided is what counts.
    """
    roles = catalogue.roles
    object_id = catalogue.text(roles["id"]) if "id" in roles else [str(row) for row in range(len(catalogue))]
    ra, dec = (catalogue.numbers(roles[role]) if role in roles else None for role in ("ra", "dec"))
    for values in _TRIES if len(catalogue) < _LONG else _TRIES[:6]:
        settings = SplitSettings(**values)
        try:
            parts, _ = assign.assign(object_id, ra, dec, settings)
        except DataError:
            continue
        if _balanced(parts[paths.rows], settings):
            draft.split = values
            if values:
                draft.why["split"] = f"so that each part of {_counted(len(paths.rows), 'object')} has its share"
            return
    draft.split = {"validation": 0.0, "test": 0.0}
    draft.why["split"] = f"too few to divide ({_counted(len(paths.rows), 'object')}): all are for training"


def _balanced(parts: NDArray[np.int8], settings: SplitSettings) -> bool:
    """Tell whether each part has a third to three times of what was asked for."""
    asked = np.array([1 - settings.validation - settings.test, settings.validation, settings.test])
    shares = np.bincount(parts, minlength=3) / len(parts)
    return bool((shares >= asked / 3).all() and (shares <= 3 * asked).all())


# -- what is said ------------------------------------------------------------------------------------------------------


def _heading(catalogue: Catalogue, paths: Paths, layout: Layout) -> str:
    images = "; ".join(dict.fromkeys(paths.templates.values()))
    return (
        f"Draft by `astrodl init` from {catalogue.path.name} ({_counted(len(catalogue), 'row')}) and {images}.\n"
        "Comments say what a value was seen from; a question mark asks what could not be told."
    )


def _report(catalogue: Catalogue, paths: Paths, layout: Layout, draft: Draft, out: Path) -> list[str]:
    n_columns = len(catalogue.table.colnames)
    lines = [f"{catalogue.path}: {_counted(len(catalogue), 'row')}, {_counted(n_columns, 'column')}"]
    lines += [f"  {what:<22}{seen}" for what, seen in catalogue.seen()]
    lines.append(f"images in {_shown(paths.root)}: {layout.why}")
    lines += [f"  {note}" for note in paths.notes]
    if not paths.shared:
        lines.append(f"  {_have_files(paths)}; looked at {_counted(layout.n_looked, 'file')}")
    for band in layout.bands:
        lines.append(f"  {'band ' + band.settings['name']:<22}{_described(band)}")
    for role, settings in layout.planes.items():
        lines.append(f"  {role:<22}{', '.join(f'{key} {value}' for key, value in settings.items())}")
    lines += [f"  unreadable            {refused}" for refused in layout.refused]
    lines += [f"  {note}" for note in layout.notes]
    asked = [line for questions in draft.questions.values() for line in questions if "?" in line]
    asked += [f"{key}: {why}" for key, why in draft.why.items() if why.startswith("?")]
    if asked:
        lines.append("cannot tell; the file asks in comments")
        lines += [part for line in asked for part in wrapped(line.replace(" ?  ", " "), "  ", "    ")]
    lines.append(f"wrote {out} with the tasks {', '.join(draft.tasks)}")
    if draft.unfinished:
        return lines + [f"it does not run yet: {line}" for line in draft.unfinished]
    return [*lines, f"next: astrodl ingest --settings {out} --out store.h5, or snakemake --configfile {out}"]


def _shown(folder: Path) -> str:
    """Write a folder relative to the working directory if it is below it."""
    relative = os.path.relpath(folder)
    return str(folder) if relative.startswith("..") else relative


def _have_files(paths: Paths) -> str:
    return f"{len(paths.rows):,} of {_counted(paths.n_looked, 'row')} have a file"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _described(band: Band) -> str:
    """Describe the images of a band: the first, how the others differ in size, how much is missing at most."""
    text = band.views[0].seen()
    sides = sorted({view.shape[-2:] for view in band.views})
    if len(sides) > 1:
        low, high = (" x ".join(map(str, reversed(side))) for side in (sides[0], sides[-1]))
        text += f"; sizes from {low} to {high}"
    for what, shares in (
        ("NaN", [view.nan_share for view in band.views]),
        ("exactly zero", [view.zero_share for view in band.views]),
    ):
        largest = max((share for share in shares if np.isfinite(share)), default=0.0)
        if largest > 0:
            text += f"; {'up to ' if len(shares) > 1 else ''}{100 * largest:.2g} % {what}"
    return text
