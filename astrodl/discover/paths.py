"""Find the files of a survey's objects: fill in, complete and invent path templates."""

import glob
import os
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from astrodl.discover.catalogue import Catalogue, is_image
from astrodl.discover.images import bare, role_of
from astrodl.errors import DataError

MOST_FILES = 200_000
_MOST_ROWS = 2_000
_MOST_COUNTED = 40_000
_WIDTHS = range(2, 20)
_ENOUGH = 20
_ZEROS = re.compile(r"0(\d+)d?")
"""Format that puts zeros in front of a number."""


@dataclass
class Paths:
    """Where the images are.

    Attributes
    ----------
    root
        Folder of catalogue and images.
    template
        Path template relative to `root`, with ``{column}`` and ``{band}``; None where `by_band` has them.
    bands
        Values of ``{band}`` in the order in which they were found.
    by_band
        Path template per band, where they differ in more than the band's name.
    rows
        Rows whose file exists, of those that were looked for.
    n_looked
        How many rows were looked for.
    notes
        What was found out on the way.
    """

    root: Path
    template: str | None = None
    bands: list[str] = field(default_factory=list)
    by_band: dict[str, str] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    n_looked: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def templates(self) -> dict[str, str]:
        """Path template of each band ("" where files do not tell bands apart)."""
        if self.by_band:
            return self.by_band
        assert self.template is not None
        return dict.fromkeys(self.bands, self.template) if self.bands else {"": self.template}

    @property
    def shared(self) -> bool:
        """Whether all objects are in the same files."""
        return not any(columns_of(template) for template in self.templates.values())

    def file(self, catalogue: Catalogue, row: int, band: str = "") -> Path:
        """Give the file of an object and band."""
        return self.root / fill(self.templates[band], catalogue, row, band)


def fields_of(template: str) -> list[tuple[str, str]]:
    """List the fields of a template with their format specifications.

    Raises
    ------
    DataError
        Braces do not match, a field has no name, or a format does not work on text.
    """
    fields = []
    try:
        for _, name, spec, conversion in string.Formatter().parse(template):
            if name is None:
                continue
            if not re.fullmatch(r"[^.\[\]]+", name) or conversion or (name == "band" and spec):
                raise ValueError(f"'{{{name}}}' is no field")
            if not _ZEROS.fullmatch(spec or ""):
                format("", spec or "")
            fields.append((name, spec or ""))
    except ValueError as error:
        raise DataError(f"--images '{template}': {error}; write {{column}} or {{band}}") from None
    return fields


def columns_of(template: str) -> list[str]:
    """List the catalogue columns that a template names."""
    return [name for name, _ in fields_of(template) if name != "band"]


def fill(template: str, catalogue: Catalogue, row: int, band: str) -> str:
    """Fill in a template as ingestion does: all values are text."""
    values: Mapping[str, str] = {name: catalogue.text(name)[row] for name in columns_of(template)}
    return template.format_map({**values, "band": band})


def find(catalogue: Catalogue, images: list[str]) -> Paths:
    """Find the files that templates name; the templates may be incomplete.

    A field that is no column (``{id}``) becomes the column whose values give files, zeros are put in front of numbers
    where files have them, and ``{band}`` (or ``*``) is looked up in the folder.

    Raises
    ------
    DataError
        No file is there.
    """
    images = _expanded(images)
    root, templates = _relative(catalogue.path, images)
    found = Paths(root)
    templates = [_with_columns(template, catalogue, root, found) for template in templates]
    if len(templates) == 1:
        found.template = templates[0]
        if "band" in [name for name, _ in fields_of(templates[0])]:
            found.bands = _bands(templates[0], catalogue, root)
    else:
        found.by_band = dict(zip(_differences(templates), templates, strict=True))
    _count_rows(found, catalogue)
    if not found.rows:
        raise DataError(_nothing(found, catalogue, images))
    return found


def _expanded(images: list[str]) -> list[str]:
    """Replace shell patterns: without fields by the files they match, with fields by ``{band}``."""
    out: list[str] = []
    for template in images:
        template = os.path.expanduser(os.path.expandvars(template))
        if "*" in template and not fields_of(template):
            out += sorted(path for path in glob.glob(template) if is_image(path)) or [template]
        else:
            out.append(template.replace("*", "{band}"))
    return out


def _relative(catalog: Path, images: list[str]) -> tuple[Path, list[str]]:
    """Choose the root: the catalogue's folder if the images are below it, else that of the images."""
    fixed = [os.path.realpath(template.partition("{")[0].rpartition("/")[0] or ".") for template in images]
    rest = [template.partition("{")[0].rpartition("/")[2] + "".join(template.partition("{")[1:]) for template in images]
    folder, below = os.path.realpath(catalog.parent), os.path.commonpath(fixed)
    for root in (folder, below):
        if below == root or below.startswith(root.rstrip("/") + "/"):
            break
    relative = [os.path.join(os.path.relpath(one, root), name) for one, name in zip(fixed, rest, strict=True)]
    return Path(root), [name.removeprefix("./") for name in relative]


def _with_columns(template: str, catalogue: Catalogue, root: Path, found: Paths) -> str:
    """Make every field a column or ``{band}``, with a format that works on text."""
    for name, spec in fields_of(template):
        if name == "band":
            continue
        column = _column_named(name, catalogue)
        zeros = _ZEROS.fullmatch(spec)
        if zeros:  # templates are filled in with text, for which `04d` is written `0>4`
            old, spec = spec, f"0>{zeros[1]}"
            template = template.replace(f"{{{name}:{old}}}", f"{{{name}:{spec}}}")
        if column is None:
            column, better = _matching(template, name, spec, catalogue, root)
            found.notes.append(f"{{{name}}} is column '{column}': its values give files")
        else:
            better = _spec_that_exists(template, name, spec, column, catalogue, root)
        if better != spec:
            found.notes.append(f"numbers in file names have zeros in front: {{{column}:{better}}}")
        old = f"{{{name}:{spec}}}" if spec else f"{{{name}}}"
        template = template.replace(old, f"{{{column}:{better}}}" if better else f"{{{column}}}")
    return template


def _column_named(name: str, catalogue: Catalogue) -> str | None:
    same = sorted((one for one in catalogue.names if one.lower() == name.lower()), key=lambda one: one != name)
    return same[0] if same else None


def _spec_that_exists(template: str, name: str, spec: str, column: str, catalogue: Catalogue, root: Path) -> str:
    """Give the format with which a column's values name files: the one written, or one with zeros in front."""
    values = catalogue.text(column)
    existing = _values_in_files(template, name, spec, root)
    if spec or not existing or existing & set(values):
        return spec
    return _zeros(existing, values) or spec


def _zeros(existing: set[str], values: list[str]) -> str:
    """Find the number of digits to which numbers are filled up with zeros in the names of files."""
    numbers = [value for value in values if value.isdigit()]
    for width in _WIDTHS:
        if any(len(number) < width and number.zfill(width) in existing for number in numbers):
            return f"0>{width}"
    return ""


def _matching(template: str, name: str, spec: str, catalogue: Catalogue, root: Path) -> tuple[str, str]:
    """Find the column, and the format, whose values stand in the names of files.

    Raises
    ------
    DataError
        No column does.
    """
    existing = _values_in_files(template, name, spec, root)
    best: tuple[int, str, str] = (0, "", "")
    first = [catalogue.roles["id"]] if "id" in catalogue.roles else []
    for column in [*first, *(one for one in catalogue.names if one not in first)]:
        values = catalogue.text(column)
        hits = len(existing & {format(value, spec) for value in values})
        padded = "" if hits or spec else _zeros(existing, values)
        hits = len(existing & {format(value, padded) for value in values}) if padded else hits
        if not hits and template == f"{{{name}}}" and column in catalogue.file_columns:
            hits = sum((root / value).is_file() for value in values[:100])
        if hits > best[0]:
            best = (hits, column, padded or spec)
    if not best[0]:
        example = f" (there is {min(existing)!r} in its place)" if existing else ""
        raise DataError(
            f"--images '{template}': no column has values that stand for {{{name}}} in the names of files in {root}"
            f"{example}; name a column of the catalogue: {', '.join(catalogue.names[:20])}"
        )
    return best[1], best[2]


def _values_in_files(template: str, wanted: str, spec: str, root: Path) -> set[str]:
    """Collect what stands in the place of a field in the names of the files that are there."""
    field_pattern = re.compile(r"\{([^}:]+)(?::[^}]*)?\}")
    pieces = field_pattern.split(template)
    shell = "".join(glob.escape(piece) if k % 2 == 0 else "*" for k, piece in enumerate(pieces))
    values: set[str] = set()
    names = list(islice(glob.iglob(shell, root_dir=root), MOST_FILES))
    for lazy in ("", "?"):  # where fields touch letters of others, either may be right
        seen: set[str] = set()
        pattern = ""
        for k, piece in enumerate(pieces):
            if k % 2 == 0:
                pattern += re.escape(piece)
            elif piece == wanted:
                pattern += "(?P=it)" if piece in seen else f"(?P<it>.+{lazy})"
                seen.add(piece)
            else:
                pattern += f".+{'' if lazy else '?'}"
        values |= {match["it"] for match in (re.fullmatch(pattern, name) for name in names) if match}
    return values


def _bands(template: str, catalogue: Catalogue, root: Path) -> list[str]:
    """Look up which values of ``{band}`` have files, leaving out those of noise, masks and PSFs.

    Raises
    ------
    DataError
        None has.
    """
    parts = template.split("{band}")
    counts: dict[str, int] = {}
    for row in _rows(len(catalogue), _MOST_ROWS):
        texts = [fill(part, catalogue, row, "") for part in parts]
        pattern = "(?P<band>.+?)".join(map(re.escape, texts[:2])) + "".join(
            "(?P=band)" + re.escape(t) for t in texts[2:]
        )
        for name in glob.iglob("*".join(map(glob.escape, texts)), root_dir=root):
            match = re.fullmatch(pattern, name)
            if match and is_image(name) and role_of(match["band"]) == "image":
                counts[match["band"]] = counts.get(match["band"], 0) + 1
        if not columns_of(template) or max(counts.values(), default=0) >= _ENOUGH:
            break
    if not counts:
        raise DataError(
            f"--images '{template}': no file in {root} fits for the first rows of the catalogue; correct the template"
        )
    return sorted(counts)


def _differences(templates: list[str]) -> list[str]:
    """Name templates after what differs between them: the words that not all have."""
    common = set.intersection(*(set(bare(template)) for template in templates))
    names = ["".join(word for word in bare(template) if word not in common) for template in templates]
    if "" in names or len(set(names)) < len(names):
        return [f"band{k + 1}" for k in range(len(templates))]
    return names


def _rows(n_rows: int, most: int) -> list[int]:
    step = max((n_rows - 1) / max(most - 1, 1), 1)
    return sorted({min(round(k * step), n_rows - 1) for k in range(min(n_rows, most))})


def _count_rows(found: Paths, catalogue: Catalogue) -> None:
    """Find the rows that have a file, of all or (in long catalogues) of evenly spaced ones that suffice."""
    for looked in (_rows(len(catalogue), 1 if found.shared else _MOST_COUNTED), range(len(catalogue))):
        found.rows = [
            row for row in looked if any(found.file(catalogue, row, band).is_file() for band in found.templates)
        ]
        found.n_looked = len(looked)
        if found.rows or found.shared:
            break
    if found.shared and found.rows:
        found.rows, found.n_looked = list(range(len(catalogue))), len(catalogue)


def _nothing(found: Paths, catalogue: Catalogue, images: list[str]) -> str:
    first = found.file(catalogue, 0, next(iter(found.templates)))
    there = (
        sorted(path.name for path in first.parent.iterdir() if is_image(path.name))[:1] if first.parent.is_dir() else []
    )
    hint = f"there is {first.parent / there[0]}" if there else "there is no image in that folder"
    return f"--images '{images[0]}': no row of the catalogue has a file: the first would be {first}, {hint}; correct it"
