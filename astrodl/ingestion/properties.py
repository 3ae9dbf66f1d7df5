"""Properties that all images of a survey share, found before the first object is stored."""

import os
from dataclasses import dataclass

from astrodl.config import DataSettings
from astrodl.errors import DataError
from astrodl.ingestion.band_image import BandImage, RefusedError
from astrodl.ingestion.cutout import read_cutout
from astrodl.ingestion.object_images import ObjectImages
from astrodl.ingestion.objects import Objects
from astrodl.ingestion.survey_images import SurveyImages

__all__ = ["SurveyProperties", "find_properties"]


@dataclass(frozen=True)
class SurveyProperties:
    """Properties that all images of a survey share.

    Attributes
    ----------
    data, root
        Settings of the survey, and the resolved folder that no path may leave.
    calibrated
        Whether all bands have zero points, so that fluxes become microjansky.
    pixel_scale_arcsec
        Pixel scale of the stored cutouts; None if unknown.
    psf_size
        Side of the stored point-spread functions in pixels; None without them.
    """

    data: DataSettings
    root: str
    calibrated: bool
    pixel_scale_arcsec: float | None
    psf_size: int | None = None


def find_properties(data: DataSettings, root: str, objects: Objects) -> SurveyProperties:
    """Read objects until every band has been read once; the first object is usually enough.

    Raises
    ------
    DataError
        If a band is in no file.
    """
    survey = SurveyImages(data, root)
    missing = set(range(len(data.bands)))
    found: dict[int, BandImage] = {}
    for row in range(len(objects)):
        images = survey.open(*objects.entries([row]))
        for position in sorted(missing):
            try:
                image = images.band(position, with_scale=True)
            except RefusedError:
                continue
            if image is not None:
                missing.discard(position)
                found[position] = image
        if not missing:
            break
    if len(missing) == len(data.bands):
        raise DataError(_no_image_message(data, root, objects))
    if missing:
        raise DataError(_no_band_message(data, root, objects, min(missing)))
    scale = next((image.pixel_scale_arcsec for image in found.values() if image.pixel_scale_arcsec), None)
    scale = data.pixel_scale_arcsec or (scale * data.rebin if scale else None)
    psf = next((image.psf for image in found.values() if image.psf is not None), None)
    psf_size = None if data.psf is None or psf is None else data.psf.size or max(psf.shape)
    calibrated = all(image.zero_point is not None for image in found.values())
    return SurveyProperties(data, root, calibrated, scale, psf_size)


def _no_image_message(data: DataSettings, root: str, objects: Objects) -> str:
    if _list_extensions(data, root, objects, 0):
        return _no_band_message(data, root, objects, 0)
    try:
        read_cutout(_open(data, root, objects, 0), calibrated=False)
    except RefusedError as error:
        file, reason = error.file, error.reason
    return (
        f"none of the {len(objects)} objects can be read; the first is {objects.object_id[0]}: "
        f"{os.path.join(root, file)}: {reason}; correct data.path, data.layout or the files"
    )


def _no_band_message(data: DataSettings, root: str, objects: Objects, position: int) -> str:
    band = data.bands[position]
    extensions = _list_extensions(data, root, objects, position)
    if extensions:
        extension = band.name if band.extension is None else band.extension
        return (
            f"band '{band.name}': extension '{extension}' is in none of the {len(objects)} files "
            f"(they have {', '.join(extensions)}); set data.bands.{position}.extension"
        )
    path = os.path.join(root, _open(data, root, objects, 0).path(band))
    return (
        f"band '{band.name}': none of the {len(objects)} objects has a usable image (the first would be "
        f"{path}); correct data.path or the band's settings"
    )


def _list_extensions(data: DataSettings, root: str, objects: Objects, position: int) -> list[str]:
    """List the images in the first file that can be opened, if the settings find the band by extension."""
    band = data.bands[position]
    by_extension = data.layout == "extensions" or (data.layout != "rgb" and band.extension is not None)
    for row in range(len(objects) if by_extension else 0):
        extensions = _open(data, root, objects, row).extensions(band)
        if extensions:
            return extensions
    return []


def _open(data: DataSettings, root: str, objects: Objects, row: int) -> ObjectImages:
    return SurveyImages(data, root).open(*objects.entries([row]))
