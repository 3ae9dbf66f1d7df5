"""Properties that all images of a survey share, found before the first object is stored."""

import os
from dataclasses import dataclass

from astrodl.config import DataSettings
from astrodl.errors import DataError
from astrodl.ingestion.array_lengths import require_equal_lengths
from astrodl.ingestion.band_image import BandImage, RefusedError
from astrodl.ingestion.cutout import read_cutout
from astrodl.ingestion.object_images import ObjectImages
from astrodl.ingestion.objects import Objects
from astrodl.ingestion.photometry_columns import is_calibrated
from astrodl.ingestion.survey_images import SurveyImages
from astrodl.photometry.pixel_grid import rebinned_length

__all__ = ["SurveyProperties", "find_properties"]

_LARGEST_SCALE_RATIO = 1.01


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
    picture_bits
        Bits of a value of the pictures; None for other images.
    """

    data: DataSettings
    root: str
    calibrated: bool
    pixel_scale_arcsec: float | None
    psf_size: int | None = None
    picture_bits: int | None = None


def find_properties(data: DataSettings, root: str, objects: Objects) -> SurveyProperties:
    """Read objects until every band has been read once; the first object is usually enough.

    Raises
    ------
    DataError
        If a band is in no file, bands have different pixel scales, or arrays do not fit the catalogue.
    """
    if not data.has_images:
        return SurveyProperties(data, root, is_calibrated(data, objects.photometry_units), None)
    require_equal_lengths(data, root, objects)
    survey = SurveyImages(data, root)
    missing = set(range(len(data.bands)))
    found: dict[int, BandImage] = {}
    refused: dict[int, RefusedError] = {}
    for row in range(len(objects)):
        images = survey.open(*objects.entries([row]))
        for position in sorted(missing):
            try:
                image = images.band(position, with_scale=True)
            except RefusedError as error:
                refused.setdefault(position, error)
                continue
            if image is not None:
                missing.discard(position)
                found[position] = image
        if not missing:
            break
    if len(missing) == len(data.bands):
        raise DataError(_no_image_message(data, root, objects, refused.get(0)))
    if missing:
        raise DataError(_no_band_message(data, root, objects, min(missing), refused.get(min(missing))))
    scales = {data.bands[k].name: image.pixel_scale_arcsec for k, image in found.items() if image.pixel_scale_arcsec}
    if data.pixel_scale_arcsec is None:
        _require_equal_scales(scales)
    scale = next(iter(scales.values()), None)
    scale = data.pixel_scale_arcsec or (scale * data.rebin if scale else None)
    psf = next((image.psf for image in found.values() if image.psf is not None), None)
    psf_size = None if data.psf is None or psf is None else data.psf.size or rebinned_length(max(psf.shape), data.rebin)
    calibrated = all(image.zero_point is not None for image in found.values())
    bits = next((image.picture_bits for image in found.values() if image.picture_bits), None)
    return SurveyProperties(data, root, calibrated, scale, psf_size, bits)


def _require_equal_scales(scales: dict[str, float]) -> None:
    if scales and max(scales.values()) > _LARGEST_SCALE_RATIO * min(scales.values()):
        listed = ", ".join(f"{name} {scale:.4g} arcsec" for name, scale in scales.items())
        raise DataError(
            f"the pixels of the bands differ in size ({listed}), one is accepted; bring the images to one grid or "
            "set data.pixel_scale_arcsec if a header is wrong"
        )


def _no_image_message(data: DataSettings, root: str, objects: Objects, refused: RefusedError | None) -> str:
    if refused is None and _list_extensions(data, root, objects, 0):
        return _no_band_message(data, root, objects, 0, None)
    try:
        read_cutout(_open(data, root, objects, 0), calibrated=False)
    except RefusedError as error:
        file, reason = error.file, error.reason
    return (
        f"none of the {len(objects)} objects can be read; the first is {objects.object_id[0]}: "
        f"{os.path.join(root, file)}: {reason}; correct data.path, data.layout or the files"
    )


def _no_band_message(
    data: DataSettings, root: str, objects: Objects, position: int, refused: RefusedError | None
) -> str:
    """Return why a band is in no file; `refused` is the first error that was not a missing file or extension."""
    band = data.bands[position]
    if refused is not None:
        return (
            f"band '{band.name}': none of the {len(objects)} objects has a usable image (the first, "
            f"{os.path.join(root, refused.file)}: {refused.reason}); correct the band's settings or the files"
        )
    extensions = _list_extensions(data, root, objects, position)
    if extensions:
        extension = _open(data, root, objects, 0).extension(band)
        return (
            f"band '{band.name}': extension '{extension}' is in none of the {len(objects)} files "
            f"(they have {', '.join(extensions)}); set data.bands.{position}.extension"
        )
    path = os.path.join(root, _open(data, root, objects, 0).path(band))
    reason = f"{path} covers none of them" if os.path.exists(path) else f"the first would be {path}"
    return (
        f"band '{band.name}': none of the {len(objects)} objects has a usable image ({reason}); correct data.path or "
        "the band's settings"
    )


def _list_extensions(data: DataSettings, root: str, objects: Objects, position: int) -> list[str]:
    """List the images in the first file that lacks the extension of a band."""
    band = data.bands[position]
    for row in range(len(objects)):
        extensions = _open(data, root, objects, row).extensions(band)
        if extensions:
            return extensions
    return []


def _open(data: DataSettings, root: str, objects: Objects, row: int) -> ObjectImages:
    return SurveyImages(data, root).open(*objects.entries([row]))
