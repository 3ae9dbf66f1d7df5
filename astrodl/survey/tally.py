"""What an ingestion tells about itself: counts, the quarantine list, whether enough objects are left."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import astropy
import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astrodl.atomic import write_text
from astrodl.config import IngestSettings
from astrodl.errors import DataError
from astrodl.store import FLAGS, SPLITS
from astrodl.survey.block import Block, Refused
from astrodl.survey.plan import Plan


class Tally:
    """What is counted while blocks go by."""

    def __init__(self, checksum: Any) -> None:
        self.checksum = checksum
        self.refused: list[Refused] = []
        self.rows: list[int] = []
        self.flags: Counter[str] = Counter()
        self.labelled: Counter[str] = Counter()
        self._lowest: NDArray[np.float64] | None = None
        self._highest: NDArray[np.float64] | None = None

    def add(self, block: Block) -> None:
        """Count a block."""
        self.refused += block.refused
        if not block.rows:
            return
        self.rows += block.rows
        self.checksum.update(block.checksum)
        self.flags.update({name: int((block.arrays["flags"] & bit > 0).sum()) for name, bit in FLAGS.items()})
        for name, values in block.arrays.items():
            if name.startswith("label/"):
                self.labelled[name.removeprefix("label/")] += int(np.isfinite(values).any(axis=(1, 2)).sum())
        lowest = np.where(np.isnan(block.zero_points), np.inf, block.zero_points).min(axis=0)
        highest = np.where(np.isnan(block.zero_points), -np.inf, block.zero_points).max(axis=0)
        self._lowest = lowest if self._lowest is None else np.minimum(self._lowest, lowest)
        self._highest = highest if self._highest is None else np.maximum(self._highest, highest)

    def common_zero_points(self) -> list[float]:
        """Give the zero points per band; NaN where there is none or objects differ."""
        assert self._lowest is not None
        assert self._highest is not None
        return [float(low) if low == high else np.nan for low, high in zip(self._lowest, self._highest, strict=True)]


def require_enough(catalog: Path, tally: Tally, n_objects: int, max_bad_fraction: float, strict: bool) -> None:
    """Refuse a survey of which too much cannot be used.

    Raises
    ------
    DataError
        More objects than accepted were refused (or any, if `strict`), or a label is in no file.
    """
    n_bad = len(tally.refused)
    if not n_bad or (n_bad < n_objects and not strict and n_bad <= max_bad_fraction * n_objects):
        if tally.labelled and not min(tally.labelled.values()):
            name = min(tally.labelled, key=lambda label: tally.labelled[label])
            raise DataError(
                f"label '{name}' is in none of the files; correct data.labels.path or data.labels.extensions"
            )
        return
    first = tally.refused[0]
    reason, count = Counter(refused.reason for refused in tally.refused).most_common(1)[0]
    accepted = "none with --strict" if strict else f"at most {max_bad_fraction:.0%}"
    raise DataError(
        f"{catalog}: {n_bad} of {n_objects} objects cannot be used, {accepted} may ({count} times: {reason}; first: "
        f"{first.object_id}, {first.file}); see quarantine.ecsv, mend the files or raise data.max_bad_fraction"
    )


def summarize(
    settings: IngestSettings, plan: Plan, tally: Tally, parts: NDArray[np.int8], folds: NDArray[np.int16]
) -> dict[str, Any]:
    """Give the content of `ingest.json`, which depends on nothing but settings and data."""
    split_counts = {name: int((parts[tally.rows] == number).sum()) for number, name in enumerate(SPLITS)}
    fold_counts = [int((folds[tally.rows] == number).sum()) for number in range(settings.split.folds)]
    zero_points = tally.common_zero_points()
    return {
        "survey": settings.survey,
        "n_objects": len(tally.rows),
        "n_refused": len(tally.refused),
        "refused": dict(Counter(refused.reason for refused in tally.refused).most_common()),
        "flags": {name: tally.flags[name] for name in FLAGS},
        "split": split_counts,
        "folds": fold_counts,
        "labelled": dict(sorted(tally.labelled.items())),
        "bands": [band.name for band in settings.data.bands],
        "unit": "uJy" if plan.calibrated else "relative",
        "zero_points": [None if np.isnan(zero) else zero for zero in zero_points],
        "pixel_scale_arcsec": plan.pixel_scale_arcsec,
        "source_checksum": tally.checksum.hexdigest(),
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
