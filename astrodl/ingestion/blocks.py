"""Read and measure a block of objects and write its rows to the store, in a worker process."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from astrodl.config import DataSettings, canonical_json
from astrodl.ingestion.band_image import RefusedError
from astrodl.ingestion.cutout import Cutout, read_cutout
from astrodl.ingestion.identity import identify_files
from astrodl.ingestion.objects import ObjectEntry
from astrodl.ingestion.properties import SurveyProperties
from astrodl.ingestion.survey_images import SurveyImages
from astrodl.photometry.features import band_snr, measure
from astrodl.store import BAND_FLAGS, FLAGS, RowLocation, write_rows

__all__ = [
    "DETECTION_SNR",
    "BlockRecord",
    "RefusedObject",
    "block_length",
    "close_shared_files",
    "ingest_block",
    "object_flags",
]

DETECTION_SNR = 3.0
"""Signal to noise below which a band counts as observed but not detected."""
_BLOCK_BYTES = 32 << 20
_MAX_BLOCK = 256


@dataclass(frozen=True)
class RefusedObject:
    """A row of the quarantine list; `row` is the row in the catalogue."""

    row: int
    object_id: str
    file: str
    band: str
    reason: str


@dataclass(frozen=True)
class BlockRecord:
    """Summary of a finished block, in plain values that can be saved as JSON.

    Attributes
    ----------
    start, n_rows
        First row in the catalogue, and number of rows.
    refused
        Objects that cannot be used.
    checksum
        SHA-256 of everything that was read, in the order of the objects.
    zero_points
        Lowest and highest zero point per band, or None.
    flags, labelled
        Number of objects per flag, and per label that they have.
    files
        Identity of the image files before they were read, see `identify_files`.
    """

    start: int
    n_rows: int
    refused: list[RefusedObject]
    checksum: str
    zero_points: list[tuple[float, float] | None]
    flags: dict[str, int]
    labelled: dict[str, int]
    files: str

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BlockRecord | None":
        """Restore the output of `to_dict`; None if the values are damaged or those of another version."""
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError:
            return None


def block_length(data: DataSettings) -> int:
    """Return the number of objects of a block, which bounds its memory."""
    row_bytes = len(data.bands) * data.size**2 * 4 * (2 if data.noise is not None else 1)
    return int(np.clip(_BLOCK_BYTES // row_bytes, 16, _MAX_BLOCK))


def ingest_block(
    survey: SurveyProperties, entries: Sequence[ObjectEntry], partial: Path, locations: Mapping[str, RowLocation]
) -> BlockRecord:
    """Read and measure consecutive objects and write their rows; rows of refused objects are undefined.

    Parameters
    ----------
    survey
        Properties that all images share.
    entries
        The objects.
    partial, locations
        The unfinished store, and the locations of its rows; see `astrodl.store.write_rows`.
    """
    files = identify_files(survey.data, survey.root, entries)
    images = _open_survey(survey.root, canonical_json(survey.data))
    refused: list[RefusedObject] = []
    arrays = {name: np.zeros((len(entries), *rows.shape), rows.dtype) for name, rows in locations.items()}
    zero_points = np.full((len(entries), len(survey.data.bands)), np.nan)
    checksum = sha256()
    for number, entry in enumerate(entries):
        try:
            cutout = read_cutout(
                images.open(entry),
                calibrated=survey.calibrated,
                psf_size=survey.psf_size,
                picture_bits=survey.picture_bits,
            )
        except RefusedError as error:
            refused.append(RefusedObject(entry.row, entry.object_id, error.file, error.band, error.reason))
            continue
        _copy_cutout(arrays, number, cutout)
        zero_points[number] = cutout.zero_points
        checksum.update(cutout.checksum)
    refused_rows = {refusal.row for refusal in refused}
    kept = np.array([entry.row not in refused_rows for entry in entries])
    if kept.any():
        _measure(survey, entries, arrays, kept)
        write_rows(partial, locations, entries[0].row, arrays)
    return BlockRecord(
        entries[0].row,
        len(entries),
        refused,
        checksum.hexdigest(),
        [_range(zero_points[kept, band]) for band in range(len(survey.data.bands))],
        {name: int((arrays["flags"][kept] & bit > 0).sum()) for name, bit in FLAGS.items()},
        {
            name.removeprefix("label/"): int(np.isfinite(values[kept]).any(axis=(1, 2)).sum())
            for name, values in arrays.items()
            if name.startswith("label/")
        },
        files,
    )


@lru_cache(maxsize=1)
def _open_survey(root: str, settings: str) -> SurveyImages:
    """Return the images of a survey; shared files stay open from block to block."""
    return SurveyImages(DataSettings.model_validate_json(settings), root)


def close_shared_files() -> None:
    """Close shared files, so that the next ingestion in this process reads them again."""
    _open_survey.cache_clear()


def _copy_cutout(arrays: dict[str, NDArray[Any]], number: int, cutout: Cutout) -> None:
    arrays["image"][number] = cutout.image
    arrays["sky_sigma"][number] = cutout.sky_sigma
    arrays["background"][number] = cutout.background
    arrays["band_flags"][number] = cutout.band_flags
    for name, values in cutout.datasets.items():
        arrays[name][number] = values


def _measure(
    survey: SurveyProperties, entries: Sequence[ObjectEntry], arrays: dict[str, NDArray[Any]], kept: NDArray[np.bool_]
) -> None:
    """Measure the photometry of the objects in `kept`, and add the flags of detection."""
    bands = [band.name for band in survey.data.bands]
    features, names = measure(
        arrays["image"][kept],
        sky_sigma=arrays["sky_sigma"][kept],
        pixel_scale_arcsec=survey.pixel_scale_arcsec,
        bands=bands,
        calibrated=survey.calibrated,
    )
    undetected = ~(band_snr(features, names, bands, arrays["sky_sigma"][kept]) >= DETECTION_SNR)
    band_flags: NDArray[np.uint8] = arrays["band_flags"][kept]
    observed = band_flags & BAND_FLAGS["not_observed"] == 0
    band_flags[observed & undetected] |= BAND_FLAGS["not_detected"]
    arrays["band_flags"][kept] = band_flags
    arrays["flags"][kept] = object_flags(band_flags, np.isnan(features[:, names.index("snr")]))
    if survey.data.ebv_column is not None:
        ebv = np.array([entry.ebv for entry in entries], np.float32)[kept]
        features = np.concatenate([features, ebv[:, np.newaxis]], axis=1)
    # A number beyond float32 is no measurement.
    arrays["features"][kept] = np.where(np.isinf(features), np.nan, features)


def object_flags(band_flags: NDArray[np.uint8], undetected: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Combine the flags of the bands, (n, bands) -> (n,); `undetected` marks objects without any detection."""
    flags = np.zeros(len(band_flags), np.int32)
    for name, bit in BAND_FLAGS.items():
        flag = {"not_observed": "missing_band", "not_detected": "band_not_detected"}.get(name, name)
        flags |= np.where((band_flags & bit > 0).any(axis=1), FLAGS[flag], 0).astype(np.int32)
    flags[undetected] |= FLAGS["not_detected"]
    flags[undetected] &= ~FLAGS["band_not_detected"]
    return flags


def _range(values: NDArray[np.float64]) -> tuple[float, float] | None:
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if len(known) else None
