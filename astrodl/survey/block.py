"""Read and measure a block of objects: what a worker process does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astrodl.store import FLAGS
from astrodl.survey import photometry
from astrodl.survey.cutout import Cutout, read_cutout
from astrodl.survey.object_files import ObjectFiles, RefusedError
from astrodl.survey.plan import Plan
from astrodl.survey.table import Source


@dataclass(frozen=True)
class Refused:
    """A line of the quarantine list."""

    object_id: str
    file: str
    band: str
    reason: str


@dataclass(frozen=True)
class Block:
    """The usable objects of a block: their rows in the catalogue, arrays for the store, and what else is needed."""

    rows: list[int]
    arrays: dict[str, NDArray[Any]]
    zero_points: NDArray[np.float64]
    checksum: bytes
    refused: list[Refused]
    feature_names: tuple[str, ...]


def read_block(plan: Plan, sources: Sequence[Source]) -> Block:
    """Read, cut out and measure objects of the catalogue; those that cannot be used are set apart."""
    good: list[Source] = []
    cutouts: list[Cutout] = []
    refused: list[Refused] = []
    for source in sources:
        files = ObjectFiles(plan.data, plan.root, source.fields)
        try:
            cutouts.append(read_cutout(files, calibrated=plan.calibrated))
            good.append(source)
        except RefusedError as error:
            refused.append(Refused(source.object_id, error.file, error.band, error.reason))
    if not cutouts:
        return Block([], {}, np.empty((0, len(plan.data.bands))), b"", refused, ())
    image = np.stack([cutout.image for cutout in cutouts])
    sky_sigma = np.stack([cutout.sky_sigma for cutout in cutouts])
    features, names = photometry.measure(
        image,
        sky_sigma=sky_sigma,
        pixel_scale_arcsec=plan.pixel_scale_arcsec,
        bands=[band.name for band in plan.data.bands],
    )
    flags = np.array([cutout.flags for cutout in cutouts], np.int32)
    flags |= np.where(np.isnan(features[:, names.index("snr")]), FLAGS["not_detected"], 0).astype(np.int32)
    arrays = {
        "object_id": np.array([source.object_id for source in good], dtype=object),
        "image": image,
        "features": features,
        "sky_sigma": sky_sigma,
        "background": np.stack([cutout.background for cutout in cutouts]),
        "flags": flags,
    }
    for name in cutouts[0].labels:
        arrays[f"label/{name}"] = np.stack([cutout.labels[name] for cutout in cutouts])
    zero_points = np.stack([cutout.zero_points for cutout in cutouts])
    return Block(
        [source.row for source in good],
        arrays,
        zero_points,
        b"".join(cutout.checksum for cutout in cutouts),
        refused,
        names,
    )
