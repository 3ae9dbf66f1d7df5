"""Files of labels that the review page saves: CSV with the columns object_id and label."""

import csv
import io
import os
from collections.abc import Collection
from pathlib import Path

from astrodl.atomic import FilePath
from astrodl.errors import DataError

__all__ = ["read_labels"]

_MAX_BYTES = 100_000_000
_HEADERS = (["object_id", "label"], ["id", "label"])
_HOW = "give the CSV file that the review page saves, with the columns object_id and label"


def read_labels(path: FilePath, object_id: Collection[str], classes: Collection[str]) -> dict[str, str]:
    """Read labels by identifier.

    Parameters
    ----------
    path : path
        The file, in UTF-8.
    object_id : collection of str
        Identifiers of the survey.
    classes : collection of str
        Labels that are accepted.

    Returns
    -------
    dict
        Label of each identifier of the file; at least one.

    Raises
    ------
    DataError
        The file is missing or not such a table; an identifier or label is not known; an object has two labels.
    """
    path, known = Path(path), set(object_id)
    labels: dict[str, str] = {}
    for number, row in enumerate(_read_rows(path), start=2):
        if len(row) != 2:
            raise DataError(f"{path}: row {number} has {len(row)} fields, must have 2; {_HOW}")
        name, label = row
        if name not in known:
            raise DataError(f"{path}: row {number}: no object {_quote(name)} in the store; {_HOW} for this survey")
        if label not in classes:
            listed = ", ".join(_quote(one) for one in classes)
            raise DataError(f"{path}: row {number}: label {_quote(label)}: must be one of {listed}; correct it")
        if labels.setdefault(name, label) != label:
            raise DataError(
                f"{path}: row {number}: object {_quote(name)} is {_quote(label)} and, before, {_quote(labels[name])}; "
                "keep one of them"
            )
    if not labels:
        raise DataError(f"{path}: holds no labels; label some objects on the review page and save the CSV file")
    return labels


def _read_rows(path: Path) -> list[list[str]]:
    """Read the rows below the header; empty lines are left out."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; {_HOW}")
    if os.path.getsize(path) > _MAX_BYTES:
        raise DataError(f"{path}: larger than {_MAX_BYTES / 1e6:.0f} MB; {_HOW}")
    try:
        text = path.read_text("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8 ({' '.join(str(error).split())}); {_HOW}") from None
    header = [field.strip().lower() for field in rows[0]] if rows else []
    if header not in _HEADERS:
        raise DataError(f"{path}: the first row is {_quote(','.join(header))}, must be 'object_id,label'; {_HOW}")
    return rows[1:]


def _quote(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
