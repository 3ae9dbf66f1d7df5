"""What holds for all objects of a survey, found out before the first is stored."""

import os
from dataclasses import dataclass

from astrodl.config import DataSettings
from astrodl.errors import DataError
from astrodl.ingestion.cutout import read_cutout
from astrodl.ingestion.planes import Plane, RefusedError
from astrodl.ingestion.sources import Files, Sources
from astrodl.ingestion.table import Objects


@dataclass(frozen=True)
class Plan:
    """What is the same for all objects.

    Attributes
    ----------
    data, root
        Settings, and the resolved folder that no path may leave.
    calibrated
        Whether all bands have zero points, so that fluxes become microjansky.
    pixel_scale_arcsec
        Of the stored cutouts; None if unknown.
    psf_size
        Side of the stored point-spread functions; None without them.
    """

    data: DataSettings
    root: str
    calibrated: bool
    pixel_scale_arcsec: float | None
    psf_size: int | None = None


def make_plan(data: DataSettings, root: str, objects: Objects) -> Plan:
    """Look at objects until every band was seen once; most often the first object is enough.

    Raises
    ------
    DataError
        A band is in no file.
    """
    opened = Sources(data, root)
    unseen = set(range(len(data.bands)))
    seen: dict[int, Plane] = {}
    for row in range(len(objects)):
        files = opened.of(*objects.sources([row]))
        for position in sorted(unseen):
            try:
                plane = files.band(position, with_scale=True)
            except RefusedError:
                continue
            if plane is not None:
                unseen.discard(position)
                seen[position] = plane
        if not unseen:
            break
    if len(unseen) == len(data.bands):
        raise DataError(_no_image(data, root, objects))
    if unseen:
        raise DataError(_no_band(data, root, objects, min(unseen)))
    scale = next((plane.pixel_scale_arcsec for plane in seen.values() if plane.pixel_scale_arcsec), None)
    scale = data.pixel_scale_arcsec or (scale * data.rebin if scale else None)
    psf = next((plane.psf for plane in seen.values() if plane.psf is not None), None)
    psf_size = None if data.psf is None or psf is None else data.psf.size or max(psf.shape)
    return Plan(data, root, all(plane.zero_point is not None for plane in seen.values()), scale, psf_size)


def _no_image(data: DataSettings, root: str, objects: Objects) -> str:
    if _listed(data, root, objects, 0):
        return _no_band(data, root, objects, 0)
    files = _files(data, root, objects, 0)
    try:
        read_cutout(files, calibrated=False)
    except RefusedError as error:
        file, reason = error.file, error.reason
    return (
        f"none of the {len(objects)} objects can be read; the first is {objects.object_id[0]}: "
        f"{os.path.join(root, file)}: {reason}; correct data.path, data.layout or the files"
    )


def _no_band(data: DataSettings, root: str, objects: Objects, position: int) -> str:
    band = data.bands[position]
    seen = _listed(data, root, objects, position)
    example = _files(data, root, objects, 0).path(band)
    if seen:
        wanted = band.name if band.extension is None else band.extension
        return (
            f"band '{band.name}': extension '{wanted}' is in none of the {len(objects)} files "
            f"(they have {', '.join(seen)}); set data.bands.{position}.extension"
        )
    return (
        f"band '{band.name}': none of the {len(objects)} objects has a usable image (the first would be "
        f"{os.path.join(root, example)}); correct data.path or the band's settings"
    )


def _listed(data: DataSettings, root: str, objects: Objects, position: int) -> list[str]:
    """List the image extensions of the first file that can be opened, where the band is found by extension."""
    band = data.bands[position]
    by_name = data.layout == "extensions" or (data.layout != "rgb" and band.extension is not None)
    for row in range(len(objects) if by_name else 0):
        found = _files(data, root, objects, row).extensions(band)
        if found:
            return found
    return []


def _files(data: DataSettings, root: str, objects: Objects, row: int) -> Files:
    (source,) = objects.sources([row])
    return Sources(data, root).of(source)
