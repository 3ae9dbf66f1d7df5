"""Find the files that path templates name, and complete the templates; or find images beside a catalogue."""

import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path

from astrodl.discover.catalogue import Catalogue
from astrodl.discover.names import is_image_file, object_words, replace_word, role_of
from astrodl.errors import DataError

__all__ = ["MOST_FILES", "Survey", "find_images", "search_images", "template_fields"]

MOST_FILES = 200_000
_MOST_COUNTED = 40_000
_FIELD = re.compile(r"\{([^{}:!.\[\]]+)(?::0>?(\d{1,2})d?)?\}")
"""A field of a template: ``{id}``, or with leading zeros ``{id:0>4}`` (as text) or ``{id:04d}`` (as a number)."""


@dataclass
class Survey:
    """The catalogue and the images of a survey."""

    catalogue: Catalogue
    root: Path
    """Folder of catalogue and images."""
    templates: dict[str, str]
    """Band -> path template relative to `root`. The only key is "" if the files do not belong to bands."""
    notes: list[str]
    """How the templates were completed."""
    rows: list[int] = field(default_factory=list)
    """Rows of the catalogue that have a file."""
    n_searched: int = 0
    """Number of rows whose files were searched."""

    @property
    def template(self) -> str | None:
        """The template of all bands, None if they have different ones."""
        different = set(self.templates.values())
        return different.pop() if len(different) == 1 else None

    @property
    def shared(self) -> bool:
        """Whether all objects are in the same files."""
        return not any(set(template_fields(template)) - {"band"} for template in self.templates.values())

    def file(self, row: int, band: str) -> Path:
        """Return the file of an object and band."""
        return self.root / self.fill(self.templates[band], row, band)

    def fill(self, template: str, row: int, band: str) -> str:
        """Fill in a template as ingestion does: all values are text."""
        columns = template_fields(template).keys() - {"band"}
        return template.format_map({name: self.catalogue.text(name)[row] for name in columns} | {"band": band})


def template_fields(template: str) -> dict[str, str]:
    """Return the fields of a template as they are written.

    Raises
    ------
    DataError
        The template is not valid.
    """
    if re.search("[{}]", _FIELD.sub("", template)):
        raise DataError(f"--images '{template}': a field is not valid; write {{column}}, {{column:04d}} or {{band}}")
    return {match[1]: match[0] for match in _FIELD.finditer(template)}


def search_images(catalogue: Catalogue) -> Survey:
    """Find images beside the catalogue, without a template.

    Columns that hold names of files come first, then files whose names contain an identifier, then a single file.

    Raises
    ------
    DataError
        Nothing was found.
    """
    folder = catalogue.path.parent
    values = {name: catalogue.text(name)[:100] for name in catalogue.file_columns}
    templates = [f"{{{name}}}" for name in values if any(map(os.path.isfile, map(folder.joinpath, values[name])))]
    if not templates:
        below = (path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(depth) if is_image_file(path.name))
        found = (path for path in islice(below, MOST_FILES) if path.is_file() and path != catalogue.path)
        files = [path.relative_to(folder) for path in found if role_of(path.name) == "image"]
        templates = _templates_with_identifiers(catalogue, files) or [str(path) for path in files if len(files) == 1]
    if not templates:
        raise DataError(
            f"{catalogue.path}: no images beside the catalogue have names that contain its values; "
            "give --images 'folder/{column}.fits'"
        )
    return find_images(catalogue, [os.path.join(folder, template) for template in templates])


def _templates_with_identifiers(catalogue: Catalogue, files: list[Path]) -> list[str]:
    """Make templates from file names that contain a value of a column; return those of the column with most files."""
    best: Counter[str] = Counter()
    for column in filter(catalogue.is_unique, catalogue.names):
        values, counts = set(catalogue.text(column)), Counter[str]()
        for path in files:
            for token in (path.name.partition(".")[0], *re.findall(r"\d+|[A-Za-z]+", path.name)):
                if token in values or (token.isdigit() and (token.lstrip("0") or "0") in values):
                    counts[str(path.with_name(replace_word(path.name, token, f"{{{column}}}")))] += 1
                    break
        # A template that fits a single file is a coincidence, unless there is a single object.
        counts = Counter({name: n for name, n in counts.items() if n >= min(3, len(catalogue))})
        best = max(best, counts, key=Counter.total)
    return sorted(best)


def find_images(catalogue: Catalogue, images: list[str]) -> Survey:
    """Find the files that templates name, and complete the templates.

    A field that is no column (``{id}``) becomes the column whose values occur in file names. Numbers get the leading
    zeros that file names have. The values of ``{band}`` (or ``*``) are looked up in the folder.

    Raises
    ------
    DataError
        A template is not valid, or there is no file.
    """
    images = _expand(images)
    root, templates = _split_root(catalogue.path, images)
    notes: list[str] = []
    completed, bands = zip(*[_complete(template, catalogue, root, notes) for template in templates], strict=True)
    if len(completed) == 1:
        survey = Survey(catalogue, root, dict.fromkeys(bands[0], completed[0]), notes)
    else:
        survey = Survey(catalogue, root, dict(zip(_differences(completed), completed, strict=True)), notes)
    everything, is_file = list(range(len(catalogue))), cache(Path.is_file)
    for rows in (everything[:: 1 + len(catalogue) // _MOST_COUNTED], everything):
        survey.rows = [row for row in rows if any(is_file(survey.file(row, band)) for band in survey.templates)]
        survey.n_searched = len(rows)
        if survey.rows:
            return survey
    first = survey.file(0, next(iter(survey.templates)))
    existing = sorted(filter(is_image_file, os.listdir(first.parent))) if first.parent.is_dir() else []
    raise DataError(
        f"--images '{images[0]}': no row of the catalogue has a file: the first would be {first}, in that folder "
        f"there is {existing[0] if existing else 'no image'}; correct the template"
    )


def _expand(images: list[str]) -> list[str]:
    """Replace ``*``: in a template without fields by the files that it matches, otherwise by ``{band}``."""
    expanded: list[str] = []
    for template in images:
        template = os.path.expanduser(os.path.expandvars(template))
        if "*" in template and not template_fields(template):
            expanded += sorted(filter(is_image_file, glob.glob(template))) or [template]
        else:
            expanded.append(template.replace("*", "{band}"))
    return list(dict.fromkeys(expanded))


def _split_root(catalog: Path, images: list[str]) -> tuple[Path, list[str]]:
    """Choose the root, the catalogue's folder if the images are below it, else that of the images."""
    images = [os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)) for path in images]
    root, folders = os.path.realpath(catalog.parent), [os.path.dirname(path.partition("{")[0]) for path in images]
    if os.path.commonpath([root, *folders]) != root:
        root = os.path.commonpath(folders)
    return Path(root), [os.path.relpath(path, root) for path in images]


def _complete(template: str, catalogue: Catalogue, root: Path, notes: list[str]) -> tuple[str, list[str]]:
    """Replace every field by a column, with leading zeros if needed; also list the values of ``{band}``."""
    files, completed = _match_files(template, catalogue, root), template
    for written, name, width in dict.fromkeys((match[0], match[1], match[2]) for match in _FIELD.finditer(template)):
        if name == "band":
            continue
        texts = {match[name] for matches in files for match in matches}
        same = sorted((one for one in catalogue.names if one.lower() == name.lower()), key=lambda one: one != name)
        candidates = same[:1] or [*filter(None, [catalogue.roles.get("id")]), *catalogue.names]
        padded = {len(text) for text in texts if text.startswith("0") and text.isdigit()}
        spelled = [
            (texts.intersection(value.rjust(n_digits, "0") for value in catalogue.text(column)), n_digits, column)
            for column in candidates
            for n_digits in ([int(width)] if width else [0, *sorted(padded)])
        ]
        found, n_digits, column = max(spelled, key=lambda one: len(one[0]))
        if not found and not same:
            example = f" (there is {min(texts)!r} in its place)" if texts else ""
            raise DataError(
                f"--images '{template}': no column has values that stand for {{{name}}} in the names of files in "
                f"{root}{example}; name a column of the catalogue: {', '.join(catalogue.names[:20])}"
            )
        new = f"{{{column}:0>{n_digits}}}" if n_digits else f"{{{column}}}"
        notes += [f"{{{name}}} is column '{column}': its values occur in file names"] if not same else []
        notes += [f"numbers in file names have leading zeros: {new}"] if n_digits and not width else []
        completed = completed.replace(written, new)
        files = [[match for match in matches if match[name] in found] for matches in files]
    if "{band}" not in template:
        return completed, [""]
    bands = sorted({matches[0]["band"] for matches in files if matches and role_of(matches[0]["band"]) == "image"})
    if not bands:
        raise DataError(f"--images '{template}': no file in {root} matches a row of the catalogue; correct it")
    return completed, bands


def _match_files(template: str, catalogue: Catalogue, root: Path) -> list[list[dict[str, str]]]:
    """List the texts in the place of the fields in the names of image files that match a template.

    Where a field touches letters or another field, several divisions of a name are possible: they are listed for each
    file, numbers and long texts first.
    """
    literal, *rest = _FIELD.split(template)
    pattern, shell = re.escape(literal), glob.escape(literal)
    fields = list(dict.fromkeys(rest[::3]))
    for name, literal in zip(rest[::3], rest[2::3], strict=True):
        group = f"f{fields.index(name)}"
        any_text = ".+?" if name == "band" else "\0"
        pattern += f"(?P={group})" if f"<{group}>" in pattern else f"(?P<{group}>{any_text})"
        pattern += re.escape(literal)
        n_folders = catalogue.text(name)[0].count("/") if name in catalogue.names else 0
        shell += "*/" * n_folders + "*" + glob.escape(literal)
    names = list(filter(is_image_file, islice(glob.iglob(shell, root_dir=root), MOST_FILES)))
    patterns = [re.compile(pattern.replace("\0", any_text)) for any_text in (r"\d+", ".+", ".+?")]
    matches = [[match for match in [one.fullmatch(name) for one in patterns] if match] for name in names]
    return [[dict(zip(fields, match.groups(), strict=True)) for match in divisions] for divisions in matches]


def _differences(templates: Sequence[str]) -> list[str]:
    """Name templates after the words that not all of them have."""
    words = [object_words(template) for template in templates]
    common = set.intersection(*map(set, words))
    names = ["".join(word for word in one if word not in common) for one in words]
    return names if "" not in names and len(set(names)) == len(names) else [f"band{k + 1}" for k in range(len(names))]
