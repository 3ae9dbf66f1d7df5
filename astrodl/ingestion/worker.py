"""Read and measure a block of objects and write its rows: what a worker process does."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.config import DataSettings, canonical_json
from astrodl.ingestion.cutout import Cutout, read_cutout
from astrodl.ingestion.layout import Plan
from astrodl.ingestion.planes import RefusedError
from astrodl.ingestion.sources import Sources
from astrodl.ingestion.table import Source
from astrodl.photometry import measure
from astrodl.store import BAND_FLAGS, FLAGS, Place, write_rows

DETECTED_SNR = 3.0
"""Signal to noise in the footprint below which a band counts as observed without detection."""
_BLOCK_BYTES = 32 << 20
_MAX_BLOCK = 256


@dataclass(frozen=True)
class Refused:
    """A line of the quarantine list; `row` is the object's in the catalogue."""

    row: int
    object_id: str
    file: str
    band: str
    reason: str


@dataclass(frozen=True)
class BlockRecord:
    """What the main process must know of a block; plain values, so that it survives an interruption as JSON.

    Attributes
    ----------
    start, n_rows
        Rows of the catalogue.
    refused
        Objects that cannot be used.
    checksum
        SHA-256 of all that was read, objects in order.
    zero_points
        Lowest and highest zero point per band, None where there is none.
    flags, labelled
        Number of objects per flag, and per label those that have it.
    """

    start: int
    n_rows: int
    refused: list[Refused]
    checksum: str
    zero_points: list[tuple[float, float] | None]
    flags: dict[str, int]
    labelled: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BlockRecord":
        """Rebuild from `to_dict`."""
        plain = dict(values)
        plain["refused"] = [Refused(**line) for line in plain["refused"]]
        return cls(**plain)


def block_length(data: DataSettings) -> int:
    """Give the number of objects of a block: bounded memory whatever the size of the cutouts."""
    row_bytes = len(data.bands) * data.size**2 * 4 * (2 if data.noise is not None else 1)
    return int(np.clip(_BLOCK_BYTES // row_bytes, 16, _MAX_BLOCK))


def read_block(plan: Plan, sources: Sequence[Source], partial: Path, places: Mapping[str, Place]) -> BlockRecord:
    """Read, cut out and measure objects and write their rows; those of refused objects are undefined."""
    opened = _sources(plan.root, canonical_json(plan.data))
    refused: list[Refused] = []
    arrays = {name: np.zeros((len(sources), *place.shape), place.dtype) for name, place in places.items()}
    zero_points = np.full((len(sources), len(plan.data.bands)), np.nan)
    checksum = sha256()
    for number, source in enumerate(sources):
        try:
            cutout = read_cutout(opened.of(source), calibrated=plan.calibrated, psf_size=plan.psf_size)
        except RefusedError as error:
            refused.append(Refused(source.row, source.object_id, error.file, error.band, error.reason))
            continue
        _fill(arrays, number, cutout)
        zero_points[number] = cutout.zero_points
        checksum.update(cutout.checksum)
    gone = {line.row for line in refused}
    kept = np.array([source.row not in gone for source in sources])
    if kept.any():
        _measure(plan, sources, arrays, kept)
        write_rows(partial, places, sources[0].row, arrays)
    return BlockRecord(
        sources[0].row,
        len(sources),
        refused,
        checksum.hexdigest(),
        [_range(zero_points[kept, band]) for band in range(len(plan.data.bands))],
        {name: int((arrays["flags"][kept] & bit > 0).sum()) for name, bit in FLAGS.items()},
        {
            name.removeprefix("label/"): int(np.isfinite(values[kept]).any(axis=(1, 2)).sum())
            for name, values in arrays.items()
            if name.startswith("label/")
        },
    )


@lru_cache(maxsize=1)
def _sources(root: str, settings: str) -> Sources:
    """Give the sources of a survey; a process keeps shared files open from block to block."""
    return Sources(DataSettings.model_validate_json(settings), root)


def close_sources() -> None:
    """Let go of shared files, so that the next ingestion in this process sees them as they are then."""
    _sources.cache_clear()


def _fill(arrays: dict[str, NDArray[Any]], number: int, cutout: Cutout) -> None:
    arrays["image"][number] = cutout.image
    arrays["sky_sigma"][number] = cutout.sky_sigma
    arrays["background"][number] = cutout.background
    arrays["band_flags"][number] = cutout.band_flags
    for name, plane in cutout.planes.items():
        arrays[name][number] = plane


def _measure(plan: Plan, sources: Sequence[Source], arrays: dict[str, NDArray[Any]], kept: NDArray[np.bool_]) -> None:
    """Measure the photometry of the objects that are kept, and complete the flags with what was detected."""
    bands = [band.name for band in plan.data.bands]
    features, names = measure.measure(
        arrays["image"][kept],
        sky_sigma=arrays["sky_sigma"][kept],
        pixel_scale_arcsec=plan.pixel_scale_arcsec,
        bands=bands,
    )
    undetected = ~(measure.band_snr(features, names, bands, arrays["sky_sigma"][kept]) >= DETECTED_SNR)
    of_band: NDArray[np.uint8] = arrays["band_flags"][kept]
    observed = of_band & BAND_FLAGS["not_observed"] == 0
    of_band[observed & undetected] |= BAND_FLAGS["not_detected"]
    arrays["band_flags"][kept] = of_band
    arrays["flags"][kept] = _object_flags(of_band, np.isnan(features[:, names.index("snr")]))
    if plan.data.ebv_column is not None:
        ebv = np.array([source.ebv for source in sources], np.float32)[kept]
        features = np.concatenate([features, ebv[:, np.newaxis]], axis=1)
    arrays["features"][kept] = features


def _object_flags(of_band: NDArray[np.uint8], nothing: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Sum up the flags of the bands, (n, bands) -> (n,); `nothing` marks objects without any detection."""
    flags = np.zeros(len(of_band), np.int32)
    for name, bit in BAND_FLAGS.items():
        flag = {"not_observed": "missing_band", "not_detected": "band_not_detected"}.get(name, name)
        flags |= np.where((of_band & bit > 0).any(axis=1), FLAGS[flag], 0).astype(np.int32)
    flags[nothing] |= FLAGS["not_detected"]
    flags[nothing] &= ~FLAGS["band_not_detected"]
    return flags


def _range(values: NDArray[np.float64]) -> tuple[float, float] | None:
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if len(known) else None
