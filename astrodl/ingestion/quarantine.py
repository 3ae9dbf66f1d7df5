"""What an ingestion tells about itself: counts, the quarantine list, whether enough objects are left."""

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
from astrodl.ingestion.layout import Plan
from astrodl.ingestion.worker import BlockRecord, Refused
from astrodl.splits.report import landed
from astrodl.store import FLAGS, SPLITS


class Tally:
    """What is counted over the blocks, whatever the order in which they are done.

    Parameters
    ----------
    catalog
        Running SHA-256 of the catalogue's content.
    """

    def __init__(self, catalog: "hashlib._Hash") -> None:
        self._catalog = catalog
        self._records: dict[int, BlockRecord] = {}

    def add(self, record: BlockRecord) -> None:
        """Count a block."""
        self._records[record.start] = record

    def __contains__(self, start: int) -> bool:
        return start in self._records

    @property
    def records(self) -> list[BlockRecord]:
        """The blocks, in the order of the catalogue."""
        return [self._records[start] for start in sorted(self._records)]

    @property
    def refused(self) -> list[Refused]:
        """Objects that cannot be used."""
        return [line for record in self.records for line in record.refused]

    @property
    def rows(self) -> list[int]:
        """Rows of the catalogue that can be used."""
        gone = {line.row for line in self.refused}
        return [row for one in self.records for row in range(one.start, one.start + one.n_rows) if row not in gone]

    @property
    def checksum(self) -> str:
        """SHA-256 of the catalogue and of all that was read."""
        digest = self._catalog.copy()
        for record in self.records:
            digest.update(bytes.fromhex(record.checksum))
        return digest.hexdigest()

    def total(self, kind: Literal["flags", "labelled"]) -> dict[str, int]:
        """Sum up a count over the blocks."""
        counts: Counter[str] = Counter()
        for record in self.records:
            counts.update(getattr(record, kind))
        return dict(counts)

    def common_zero_points(self) -> list[float]:
        """Give the zero points per band; NaN where there is none or objects differ."""
        common = []
        for ranges in zip(*(record.zero_points for record in self.records), strict=True):
            values = {value for pair in ranges if pair is not None for value in pair}
            common.append(values.pop() if len(values) == 1 else np.nan)
        return common


def require_enough(
    catalog: Path, tally: Tally, n_objects: int, max_bad_fraction: float, strict: bool, *, labels: bool = True
) -> None:
    """Refuse a survey of which too much cannot be used, or (`labels`) in which a label is nowhere.

    Raises
    ------
    DataError
        More objects than accepted were refused (or any, if `strict`), or a label is in no file.
    """
    refused = tally.refused
    n_bad, labelled = len(refused), tally.total("labelled")
    if not n_bad or (n_bad < n_objects and not strict and n_bad <= max_bad_fraction * n_objects):
        if labels and labelled and not min(labelled.values()):
            name = min(labelled, key=lambda label: labelled[label])
            raise DataError(
                f"label '{name}' is in none of the files; correct data.labels.path or data.labels.extensions"
            )
        return
    first = refused[0]
    reason, count = Counter(line.reason for line in refused).most_common(1)[0]
    accepted = "none with --strict" if strict else f"at most {max_bad_fraction:.0%}"
    raise DataError(
        f"{catalog}: {n_bad} of {n_objects} objects cannot be used, {accepted} may ({count} times: {reason}; first: "
        f"{first.object_id}, {first.file}); see quarantine.ecsv, mend the files or raise data.max_bad_fraction"
    )


def summarize(
    settings: IngestSettings,
    plan: Plan,
    tally: Tally,
    parts: NDArray[np.int8],
    folds: NDArray[np.int16],
    columns: Mapping[str, NDArray[Any]],
) -> dict[str, Any]:
    """Give the content of `ingest.json`, which depends on nothing but settings and data."""
    rows, refused, flags = tally.rows, tally.refused, tally.total("flags")
    split_counts = {name: int((parts[rows] == number).sum()) for number, name in enumerate(SPLITS)}
    fold_counts = [int((folds[rows] == number).sum()) for number in range(settings.split.folds)]
    zero_points = tally.common_zero_points()
    return {
        "survey": settings.survey,
        "n_objects": len(rows),
        "n_refused": len(refused),
        "refused": dict(Counter(line.reason for line in refused).most_common()),
        "flags": {name: flags.get(name, 0) for name in FLAGS},
        "split": split_counts,
        "folds": fold_counts,
        "landed": landed(parts[rows], folds[rows], {name: values[rows] for name, values in columns.items()}),
        "labelled": dict(sorted(tally.total("labelled").items())),
        "bands": [band.name for band in settings.data.bands],
        "unit": "uJy" if plan.calibrated else "relative",
        "zero_points": [None if np.isnan(zero) else zero for zero in zero_points],
        "pixel_scale_arcsec": plan.pixel_scale_arcsec,
        "source_checksum": tally.checksum,
        "versions": {"astropy": astropy.__version__, "numpy": np.__version__},
    }


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write `ingest.json`."""
    write_text(path, json.dumps(summary, indent=2) + "\n")


def write_quarantine(path: Path, refused: list[Refused]) -> None:
    """Write the objects that could not be used, with file, band and reason, as an ECSV table."""
    names = ("object_id", "file", "band", "reason")
    table = Table({name: [getattr(line, name) for line in refused] for name in names}, dtype=[str] * len(names))
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    write_text(path, text.getvalue())
