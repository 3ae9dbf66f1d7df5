"""`astrodl init`: draft a configuration from a catalogue and a few images."""

import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astrodl import tasks
from astrodl.atomic import FilePath, write_text
from astrodl.config import DataSettings, SplitSettings, parse
from astrodl.discover.catalogue import Catalogue, read_catalogue
from astrodl.discover.draft import Draft
from astrodl.discover.layout import Layout, choose_cutout, detect_layout
from astrodl.discover.measures import find_measures, ordinary_values
from astrodl.discover.names import config_name
from astrodl.discover.photometry import Photometry, find_photometry
from astrodl.discover.planes import find_planes
from astrodl.discover.survey import Survey, find_images, search_images
from astrodl.errors import ConfigError, DataError
from astrodl.splits import assign

__all__ = ["init"]

_SKY_SIGMA = 0.3
_ZERO_SHARE = 0.01
_LONG = 100_000
_SPLITS: tuple[dict[str, Any], ...] = (
    {},
    *({"nside": nside, "seed": seed} for nside in (1024, 4096, 16384) for seed in range(5)),
    *({"validation": 0.2, "test": 0.3, "nside": 16384, "seed": seed} for seed in range(20)),
)
"""Settings to try until each split has its share of the objects."""


def init(
    catalog: FilePath, images: Sequence[str], out: FilePath, *, name: str | None = None, force: bool = False
) -> str:
    """Draft the configuration of a survey from its catalogue and a few images.

    Parameters
    ----------
    catalog
        Table with a row per object.
    images
        Path templates; empty: search beside the catalogue.
    out
        YAML file to write.
    name
        Name of the survey; by default that of its folder.
    force
        Overwrite `out`.

    Returns
    -------
    str
        Summary, and what the user has to check.

    Raises
    ------
    ConfigError
        `out` exists.
    DataError
        The catalogue or the images cannot be used.
    """
    catalog, out = Path(catalog), Path(out)
    images = [images] if isinstance(images, str) else images
    if out.exists() and not force:
        raise ConfigError(f"{out}: exists already; give another --out, or --force to overwrite it")
    catalogue = read_catalogue(catalog)
    survey, photometry = _find_input(catalogue, images)
    if photometry is None:
        layout = detect_layout(survey)
        layout.planes = find_planes(survey, layout)
    else:
        layout = Layout("table", photometry.why, [])
    draft = Draft(name or config_name(survey.root.name if photometry is None else catalog.name.partition(".")[0]))
    _set_files(draft, survey, layout, out)
    if photometry is None:
        _set_bands(draft, layout)
    else:
        _set_photometry(draft, catalogue, photometry)
    _set_columns(draft, catalogue, layout)
    _set_labels(draft, catalogue, layout)
    if photometry is None:
        _set_planes(draft, layout)
        _set_pixels(draft, catalogue, layout)
    missing = 1 - len(survey.rows) / survey.n_searched
    if missing > 0:
        have_files = f"? only {len(survey.rows):,} of {survey.n_searched:,} rows have a file"
        draft.set("max_bad_fraction", min(math.ceil(100 * missing + 5) / 100, 0.999), have_files)
    _set_split(draft, survey)
    runs = "id" in catalogue.roles or photometry is not None
    if runs:  # otherwise incomplete
        parse(DataSettings, draft.data, str(out))
    sources = " and ".join(
        filter(None, [f"{catalog} ({len(catalogue):,} rows)", "; ".join(dict.fromkeys(survey.templates.values()))])
    )
    heading = f"Draft by `astrodl init` from {sources}"
    write_text(out, draft.text([heading, "Comments with a question mark ask you to check a value", *layout.notes]))
    lines = [f"{sources} in {draft.data['root']}: {layout.why}"]
    lines += [f"  {note}" for note in [*survey.notes, *layout.notes]]
    lines += ["please check" if draft.questions else "", *(f"  {question}" for question in draft.questions)]
    lines.append(f"wrote {out} with the tasks {', '.join(draft.tasks)}; its comments give the reasons")
    if runs:
        results = out.parent / "results" / draft.name
        lines.append(f"next: astrodl run {shlex.quote(str(out))}, which writes {results}/catalog.fits and report.html")
    return "\n".join(filter(None, lines))


def _find_input(catalogue: Catalogue, images: Sequence[str]) -> tuple[Survey, Photometry | None]:
    """Find the images, or the photometry of a catalogue without any.

    Raises
    ------
    DataError
        There is neither.
    """
    if images:
        return find_images(catalogue, list(images)), None
    try:
        return search_images(catalogue), None
    except DataError as error:
        photometry = find_photometry(catalogue)
        if photometry is None:
            raise DataError(f"{error}; and no columns are named like magnitudes or fluxes of bands") from None
    rows = list(range(len(catalogue)))
    return Survey(catalogue, Path(os.path.realpath(catalogue.path.parent)), {}, [], rows, len(rows)), photometry


def _set_photometry(draft: Draft, catalogue: Catalogue, photometry: Photometry) -> None:
    draft.set("bands", photometry.bands, "? are these the total magnitudes or fluxes that you want? magnitudes are AB")
    fluxes = [band["flux"] for band in photometry.bands if "flux" in band]
    if not all(catalogue.table[name].unit for name in fluxes):
        draft.comment("bands", "? fluxes without unit stay relative until you add, for example, zero_point: 22.5")
    if not any("extinction" in band for band in photometry.bands):
        draft.comment("bands", "? corrected for Galactic extinction? else add extinction: column, or A / E(B-V)")
    for key, value in photometry.settings.items():
        draft.set(key, value, "guessed from the names of the columns")


def _set_files(draft: Draft, survey: Survey, layout: Layout, out: Path) -> None:
    catalog, root = survey.catalogue.path, os.path.relpath(survey.root)
    # `astrodl run` works in the folder of the YAML file, other verbs in that of the user.
    outside = root.startswith("..") or out.resolve().parent != Path.cwd().resolve()
    draft.set("root", os.path.abspath(survey.root) if outside else root, "" if outside else "relative to this file")
    table = os.path.relpath(os.path.realpath(catalog), survey.root)
    draft.set("catalog", str(catalog) if table.startswith("..") else table)
    draft.set("layout", layout.kind, layout.why)
    if survey.template is not None:
        draft.set("path", survey.template, *survey.notes)
        if layout.extension is not None:
            draft.set("extension", layout.extension)


def _set_bands(draft: Draft, layout: Layout) -> None:
    descriptions: dict[str, list[str]] = {}
    for band in layout.bands:
        descriptions.setdefault(band.describe(), []).append(band.settings["name"])
    comments = [f"{', '.join(names)}: {text}" for text, names in descriptions.items()]
    draft.set("bands", [band.settings for band in layout.bands], *comments)
    unknown = [band.settings["name"] for band in layout.bands if any(one.zero_point is None for one in band.images)]
    if unknown and layout.kind != "rgb":
        draft.comment(
            "bands",
            f"? no zero point (AB magnitude of one count) in the headers of {', '.join(unknown)}: the fluxes of all "
            f"bands stay relative until you add it, as in {{name: {unknown[0]}, zero_point: 25.0}}",
        )
    if any(band.settings["name"].startswith("band") for band in layout.bands):
        draft.comment(
            "bands",
            "? the filters are neither in headers nor in file names; rename the bands, and remove what is none",
        )


def _set_columns(draft: Draft, catalogue: Catalogue, layout: Layout) -> None:
    roles = catalogue.roles
    notes = {"id": "", "ra": " degrees; close objects stay in the same split", "dec": " degrees"}
    if layout.kind == "mosaic" and ("ra" not in roles or not any(image.pixel_scale_arcsec for image in layout.images)):
        notes |= {"x": " pixels of the image" + ("" if "ra" in roles else ", which has no WCS to use"), "y": " pixels"}
    notes |= {"index": ", position of the object in the arrays, from 0"} if layout.kind == "arrays" else {}
    notes["ebv"] = ", an input of the redshift network"
    if "id" not in roles and layout.kind == "table":
        draft.set("id_column", None, "no column has a different value in each row: the number of the row is the name")
    elif "id" not in roles:
        draft.set("id_column", "?", "? it does not run yet: add a column with a different value for each object")
    for role, note in notes.items():
        if role in roles:
            draft.set(f"{role}_column", roles[role], catalogue.describe(role) + note)
    if "x_column" in draft.data:
        sextractor = roles["x"].casefold().endswith("_image")
        why = "SExtractor counts from 1" if sextractor else "? 1 if the first pixel is (1, 1)"
        draft.set("pixel_origin", int(sextractor), why)


def _set_labels(draft: Draft, catalogue: Catalogue, layout: Layout) -> None:
    """Keep redshifts, classes and what else measures results, and choose the tasks that can learn from them."""
    roles, measures = catalogue.roles, find_measures(catalogue)
    columns: dict[str, str] = {role: roles[role] for role in ("z", "z_phot", "class") if role in roles}
    columns = {role: name for role, name in columns.items() if name not in measures.values()}
    texts = {role: catalogue.describe(role) for role in columns}
    if "z_phot" in columns and "z" not in columns:
        columns, texts = ({{"z_phot": "z"}.get(k, k): v for k, v in one.items()} for one in (columns, texts))
        draft.comment("columns", "? the redshifts are photometric: the network learns to imitate them")
    needed = {name: tasks.get(name).draft_columns for name in tasks.NAMES}
    draft.tasks = [name for name, labels in needed.items() if labels is not None and set(labels) <= set(columns)]
    if layout.kind == "table":
        draft.tasks = [name for name in draft.tasks if _runs_without_images(name, len(draft.data["bands"]))]
    columns |= measures
    texts |= dict.fromkeys(measures, "measures results, no task learns from it")
    if columns:
        draft.set("columns", columns, *(f"{name}: {text}" for name, text in texts.items()))
    renames: dict[str, dict[str, str]] = {}
    if "class" in columns and not catalogue.is_text(columns["class"]):
        renames["class"] = {name: name for name in catalogue.classes() if name}
    if "oddity" in measures and (ordinary := ordinary_values(catalogue, measures["oddity"])):
        renames["oddity"] = ordinary
    if renames:
        questions = {"class": "? names of the classes", "oddity": "? oddity: nothing stands for an ordinary object"}
        draft.set("replace", renames, *(questions[name] for name in renames))


def _runs_without_images(name: str, n_bands: int) -> bool:
    task = tasks.get(name)
    try:
        task.without_images(task.Settings(), n_bands)
    except ConfigError:
        return False
    return True


def _set_planes(draft: Draft, layout: Layout) -> None:
    for role, settings in layout.planes.items():
        if role == "mask":
            left_out = "the other bits are set in so many pixels that they cannot mark bad ones"
            every = "every value but zero masks a pixel; else give `bits` or `values`"
            draft.set("masks", [settings], f"? {left_out if 'bits' in settings else every}")
        elif role == "psf":
            draft.set("psf", settings, "guessed from its name")
    noise = [role for role in ("sigma", "variance", "weight") if role in layout.planes]
    if noise:
        others = f"; {', '.join(noise[1:])} planes are there, too" if noise[1:] else ""
        why = f"guessed from its name{others}"
        if noise[0] == "weight":
            why = f"? {why}; is it 1 / variance? the weights of drizzled images may be exposure times"
        draft.set("noise", {**layout.planes[noise[0]], "kind": noise[0]}, why)


def _set_pixels(draft: Draft, catalogue: Catalogue, layout: Layout) -> None:
    images, column = layout.images, catalogue.roles.get("pixel_scale")
    if layout.kind == "mosaic":
        draft.set("size", 64, "? pixels on a side of a cutout; how large are your galaxies?")
    else:
        size, rebin, why = choose_cutout(images)
        draft.set("size", size, why)
        if rebin > 1:
            draft.set("rebin", rebin, f"? {rebin} x {rebin} pixels are summed; 1 and a larger size keep the detail")
    if not any(image.pixel_scale_arcsec for image in images):
        if column is not None and len(set(catalogue.text(column))) == 1:
            scale = float(catalogue.numbers(column)[0]) * draft.data.get("rebin", 1)
            draft.set("pixel_scale_arcsec", scale, f"of the stored cutout, from column {column}")
        else:
            draft.comment("size", "? no WCS in the headers: sizes stay in pixels until you give pixel_scale_arcsec")
    zero_share = max(image.zero_share for image in images)
    if layout.kind != "rgb" and zero_share > _ZERO_SHARE:
        draft.set("zero_is_missing", True, f"? up to {100 * zero_share:.0f} % of an image are exactly zero: no data?")
    skies = [abs(image.sky_in_sigma) for image in images if np.isfinite(image.sky_in_sigma)]
    if layout.kind != "mosaic" and skies and np.median(skies) > _SKY_SIGMA:
        draft.set("background", "border", f"the borders deviate from zero by {np.median(skies):.2g} sigma (median)")


def _set_split(draft: Draft, survey: Survey) -> None:
    """Choose settings that leave no split empty: the default, smaller cells, or another seed.

    The whole catalogue is split, as in ingestion; each split of the rows that have files must get a third to three
    times of its share.
    """
    catalogue, roles = survey.catalogue, survey.catalogue.roles
    object_id = catalogue.text(roles["id"]) if "id" in roles else list(map(str, range(len(catalogue))))
    ra, dec = (catalogue.numbers(roles[role]) if role in roles else None for role in ("ra", "dec"))
    for values in _SPLITS if len(catalogue) < _LONG else _SPLITS[:6]:
        settings = SplitSettings(**values)
        try:
            split, _ = assign.assign(object_id, ra, dec, settings)
        except DataError:
            continue
        expected = np.array([1 - settings.validation - settings.test, settings.validation, settings.test])
        shares = np.bincount(split[survey.rows], minlength=3) / len(survey.rows)
        if (shares >= expected / 3).all() and (shares <= 3 * expected).all():
            draft.split = values
            draft.comment("split", "so that each split has its share of the objects" if values else "")
            return
    draft.split = {"validation": 0.0, "test": 0.0}
    draft.comment("split", f"too few objects to split ({len(survey.rows)}): all are for training")
