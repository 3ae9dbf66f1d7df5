"""The reports of an ingestion: `ingest.json` and the quarantine list."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import astropy
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrodl.atomic import write_text
from astrodl.config import IngestSettings
from astrodl.errors import DataError
from astrodl.ingestion.blocks import BlockRecord, RefusedObject
from astrodl.ingestion.properties import SurveyProperties
from astrodl.splits.report import split_report
from astrodl.store import FLAGS, SPLITS

__all__ = ["BlockRecords", "require_enough_objects", "summarize", "write_quarantine", "write_summary"]


class BlockRecords:
    """The records of the finished blocks; the order in which they finish does not matter.

    Parameters
    ----------
    catalog
        SHA-256 of the content of the catalogue.
    """

    def __init__(self, catalog: "hashlib._Hash") -> None:
        self._catalog = catalog
        self._records: dict[int, BlockRecord] = {}

    def add(self, record: BlockRecord) -> None:
        """Add a finished block."""
        self._records[record.start] = record

    def __contains__(self, start: int) -> bool:
        return start in self._records

    @property
    def ordered(self) -> list[BlockRecord]:
        """The records in the order of the catalogue."""
        return [self._records[start] for start in sorted(self._records)]

    @property
    def n_rows(self) -> int:
        """Number of objects in finished blocks."""
        return sum(record.n_rows for record in self._records.values())

    @property
    def refused(self) -> list[RefusedObject]:
        """Objects that cannot be used."""
        return [refusal for record in self.ordered for refusal in record.refused]

    @property
    def usable_rows(self) -> list[int]:
        """Rows of the catalogue that can be used."""
        refused = {refusal.row for refusal in self.refused}
        rows = (row for record in self.ordered for row in range(record.start, record.start + record.n_rows))
        return [row for row in rows if row not in refused]

    @property
    def checksum(self) -> str:
        """SHA-256 of the catalogue and of everything that was read."""
        digest = self._catalog.copy()
        for record in self.ordered:
            digest.update(bytes.fromhex(record.checksum))
        return digest.hexdigest()

    def total(self, count: Literal["flags", "labelled"]) -> dict[str, int]:
        """Return the sum of a count over the blocks, by name."""
        counts: Counter[str] = Counter()
        for record in self.ordered:
            counts.update(getattr(record, count))
        return dict(counts)

    def common_zero_points(self) -> list[float]:
        """Return the zero point of each band; NaN if there is none or objects differ."""
        common = []
        for ranges in zip(*(record.zero_points for record in self.ordered), strict=True):
            values = {value for pair in ranges if pair is not None for value in pair}
            common.append(values.pop() if len(values) == 1 else np.nan)
        return common


def require_enough_objects(
    catalog: Path, records: BlockRecords, n_objects: int, max_bad_fraction: float, strict: bool, *, labels: bool = True
) -> None:
    """Check that enough objects can be used, and that each label is in a file.

    Parameters
    ----------
    catalog
        Name of the catalogue in messages.
    records
        All blocks.
    n_objects
        Number of objects in the catalogue.
    max_bad_fraction
        Largest accepted fraction of refused objects.
    strict
        Accept no refused object.
    labels
        Check the labels.

    Raises
    ------
    DataError
        If more objects than accepted are refused, or a label is in no file.
    """
    refused = records.refused
    n_refused, labelled = len(refused), records.total("labelled")
    if not n_refused or (n_refused < n_objects and not strict and n_refused <= max_bad_fraction * n_objects):
        if labels and labelled and not min(labelled.values()):
            name = min(labelled, key=lambda label: labelled[label])
            raise DataError(
                f"label '{name}' is in none of the files; correct data.labels.path or data.labels.extensions"
            )
        return
    first = refused[0]
    reason, count = Counter(refusal.reason for refusal in refused).most_common(1)[0]
    accepted = "none with --strict" if strict else f"at most {max_bad_fraction:.0%}"
    raise DataError(
        f"{catalog}: {n_refused} of {n_objects} objects cannot be used, {accepted} may ({count} times: {reason}; "
        f"first: {first.object_id}, {first.file}); see quarantine.ecsv, fix the files or raise data.max_bad_fraction"
    )


def summarize(
    settings: IngestSettings,
    survey: SurveyProperties,
    records: BlockRecords,
    split: NDArray[np.int8],
    fold: NDArray[np.int16],
    columns: Mapping[str, NDArray[Any]],
) -> dict[str, Any]:
    """Return the content of `ingest.json`, which depends only on settings and data.

    Parameters
    ----------
    settings, survey
        Settings, and properties that all images share.
    records
        All blocks.
    split, fold, columns
        Splits, folds and columns of all objects of the catalogue.
    """
    rows, refused, flags = records.usable_rows, records.refused, records.total("flags")
    split, fold = split[rows], fold[rows]
    return {
        "survey": settings.survey,
        "n_objects": len(rows),
        "n_refused": len(refused),
        "refused": dict(Counter(refusal.reason for refusal in refused).most_common()),
        "flags": {name: flags.get(name, 0) for name in FLAGS},
        "split": {name: int((split == code).sum()) for code, name in enumerate(SPLITS)},
        "folds": [int((fold == number).sum()) for number in range(settings.split.folds)],
        "landed": split_report(split, fold, {name: values[rows] for name, values in columns.items()}),
        "labelled": dict(sorted(records.total("labelled").items())),
        "bands": [band.name for band in settings.data.bands],
        "unit": "uJy" if survey.calibrated else "relative",
        "zero_points": [None if np.isnan(zero_point) else zero_point for zero_point in records.common_zero_points()],
        "pixel_scale_arcsec": survey.pixel_scale_arcsec,
        "source_checksum": records.checksum,
        "versions": {"astropy": astropy.__version__, "numpy": np.__version__},
    }


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write `ingest.json`."""
    write_text(path, json.dumps(summary, indent=2) + "\n")


def write_quarantine(path: Path, refused: list[RefusedObject]) -> None:
    """Write the quarantine list, an ECSV table of the refused objects with file, band and reason."""
    names = ("object_id", "file", "band", "reason")
    table = Table({name: [getattr(refusal, name) for refusal in refused] for name in names}, dtype=[str] * len(names))
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    write_text(path, text.getvalue())
