"""Images in memory, as a user gives them to a model: checked, and brought to its bands and unit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astrodl.data.batches import Cutouts
from astrodl.errors import DataError
from astrodl.photometry.features import feature_names, measure
from astrodl.photometry.sky import block_sky, border_sky
from astrodl.tasks.context import Context

__all__ = ["convert_fluxes", "prepare_cutouts", "sky_noise"]

_RELATIVE = ("relative", "")
_COUNTS = ("adu", "DN", "ct", "electron", "ph", "s", "pix")
"""Units of fluxes that are not calibrated."""


def prepare_cutouts(
    context: Context,
    images: Any,
    *,
    bands: Sequence[str] | None = None,
    unit: Any = None,
    sky_sigma: Any = None,
    features: ArrayLike | None = None,
    ebv: ArrayLike | None = None,
    planes: Mapping[str, ArrayLike] | None = None,
) -> Cutouts:
    """Check images and bring them to bands and unit of a model; measure what is not given.

    The parameters are those of `astrodl.tasks.model.Model.predict`.

    Raises
    ------
    DataError
        The images do not fit the model.
    """
    unit = _unit_of(images, unit)
    factor = _flux_factor(context, unit)
    pixels = _numbers("images", images)
    pixels = pixels[None] if pixels.ndim == 3 else pixels
    order = _band_order(context, pixels.shape, bands)
    pixels = pixels[:, order] if order is not None else pixels
    _check_shape(context, pixels.shape)
    pixels = _scaled(pixels, factor)
    n_objects, n_bands = pixels.shape[:2]
    if features is None and not context.size:
        raise DataError(
            "features: a model of a survey without images needs them; give those of "
            "astrodl.photometry.features.catalogue_features"
        )
    if order is not None and features is not None:
        raise DataError("features: they belong to the bands in the order of the model; leave them out to measure them")
    if sky_sigma is None:
        sky = sky_noise(pixels) if context.size else np.full((n_objects, n_bands), np.nan, np.float32)
    else:
        own_factor = factor if getattr(sky_sigma, "unit", None) is None else _flux_factor(context, sky_sigma.unit)
        n_given = n_bands if bands is None else len(bands)
        sky = _scaled(_fitting("sky_sigma", _numbers("sky_sigma", sky_sigma), (n_objects, n_given)), own_factor)
        sky = sky if order is None else sky[:, order]
        if (sky < 0).any() or np.isinf(sky).any():
            raise DataError(
                f"sky_sigma reaches {np.nanmin(sky):g} to {np.nanmax(sky):g}, must be the noise of a pixel, finite and "
                "not negative; leave it out to measure it"
            )
    scale = context.pixel_scale_arcsec or None
    if features is None:
        measured, _ = measure(pixels, sky_sigma=sky, pixel_scale_arcsec=scale, calibrated=context.unit == "uJy")
        reddening = np.nan if ebv is None else _numbers("ebv", ebv)
        column = _fitting("ebv", np.asarray(reddening, np.float32), (n_objects,))
        measured = np.column_stack([measured, column])
    else:
        measured = _numbers("features", features)
        n_features = len(feature_names(context.bands, context.size, scale))
        if measured.shape not in ((n_objects, n_features), (n_objects, n_features + 1)):  # with E(B-V)
            raise DataError(
                f"features have shape {measured.shape}, must be ({n_objects}, {n_features}), as "
                "astrodl.photometry.features.measure gives them; leave them out to measure them"
            )
    return Cutouts(pixels, sky, measured, _prepare_planes(planes or {}, pixels.shape, order, factor))


def sky_noise(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Measure the sky noise of images (N, bands, y, x) as ingestion does, on the border: (N, bands).

    Images that are padded with NaN on all sides, as ingestion pads small ones, are measured inside the padding.
    """
    sigma = block_sky(images)
    edges = np.stack([images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]], axis=1)
    n_covered = np.count_nonzero(np.isfinite(edges).any(axis=(2, 3)), axis=1)
    for number in np.flatnonzero(n_covered < 4):
        covered = np.isfinite(images[number]).any(0)
        if covered.any() and (inner := _centred_part(covered)) is not None:
            sigma[number] = [border_sky(band[inner])[1] for band in images[number]]
    return sigma


def _centred_part(covered: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Return the rows and columns with data if they are centred, as after `fit_size`; at the edge of a mosaic: None."""
    parts = []
    for axis in (1, 0):
        inside = np.flatnonzero(covered.any(axis))
        first, length, size = int(inside[0]), int(inside[-1] - inside[0]) + 1, covered.shape[1 - axis]
        if first != size // 2 - length // 2:
            return None
        parts.append(slice(first, first + length))
    return parts[0], parts[1]


def _numbers(name: str, values: Any) -> NDArray[Any]:
    """Return values as float32, or float64 if they are; masked entries become NaN.

    Raises
    ------
    DataError
        They are not real numbers, or not an array.
    """
    try:
        given: NDArray[Any] = values if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name}: not an array of numbers ({error}); give one") from None
    if given.dtype.kind not in "fiub":
        raise DataError(f"{name}: holds {given.dtype}, must be an array of real numbers; convert it")
    if isinstance(given, np.ma.MaskedArray):
        given = np.ma.filled(given.astype(np.float64), np.nan)
    wide = given.dtype.kind == "f" and given.dtype.itemsize == 8  # of either byte order
    return np.asarray(given, np.float64 if wide else np.float32)


def convert_fluxes(context: Context, images: Any) -> NDArray[np.float32]:
    """Return images, an array or a Quantity, in the unit of a model; masked pixels become NaN.

    Raises
    ------
    DataError
        They are not real numbers, or of another kind of unit.
    """
    return _scaled(_numbers("images", images), _flux_factor(context, _unit_of(images, None)))


def _scaled(values: NDArray[Any], factor: float) -> NDArray[np.float32]:
    """Multiply before the conversion to float32, in which small units would vanish."""
    return np.asarray(values if factor == 1 else np.asarray(values, np.float64) * factor, np.float32)


def _unit_of(images: Any, unit: Any) -> Any:
    """Return the unit of the images: the one given, or that of a Quantity."""
    own = getattr(images, "unit", None)
    if own is not None and unit is not None and str(own) != str(unit):
        raise DataError(f"unit = {unit}: the images have the unit {own}; leave out `unit`")
    return unit if own is None else own


def _flux_factor(context: Context, unit: Any) -> float:
    """Return the factor from a unit to that of the model.

    Raises
    ------
    DataError
        There is none.
    """
    from astropy import units

    if unit is None or str(unit) == context.unit:
        return 1.0
    accepted = "microjansky per pixel, or a unit that converts to it" if context.unit == "uJy" else "relative fluxes"
    refusal = DataError(
        f"unit = {unit}: this model takes {accepted}, like its training survey '{context.survey}' ({context.unit}); "
        "convert the images"
    )
    if str(unit) in _RELATIVE:
        if context.unit == "uJy":
            raise refusal
        return 1.0
    try:
        parsed = units.Unit(str(unit).replace("nanomaggies", "nmgy").replace("maggies", "mgy"))
    except (ValueError, TypeError):
        raise DataError(
            f"unit = {unit}: not a unit that astropy knows; give one such as uJy, nJy, Jy or nanomaggy"
        ) from None
    if context.unit != "uJy":
        if all(str(base) in _COUNTS for base in parsed.decompose().bases):
            return 1.0
        raise refusal
    zero = units.zero_point_flux(1 * units.AB)
    for per_pixel in (parsed, parsed * units.pix):
        try:
            return float(per_pixel.to(units.uJy, equivalencies=zero))
        except units.UnitConversionError:
            continue
    raise refusal


def _band_order(context: Context, shape: Sequence[int], bands: Sequence[str] | None) -> list[int] | None:
    """Return the positions of the model's bands among those of the images; None where they are the same."""
    if bands is None:
        return None
    wanted = ", ".join(context.bands)
    if isinstance(bands, str):
        raise DataError(f"bands = '{bands}': must be a list of names; give those of the images, of which {wanted}")
    names = [str(band) for band in bands]
    if len(shape) != 4 or len(names) != shape[1]:
        found = shape[1] if len(shape) == 4 else f"the shape {tuple(shape)}"
        raise DataError(f"bands = {', '.join(names)}: {len(names)} names, the images have {found}; name each band")
    if len(set(names)) < len(names):
        raise DataError(f"bands = {', '.join(names)}: a name occurs twice; name each band once")
    missing = [band for band in context.bands if band not in names]
    if missing:
        raise DataError(
            f"bands = {', '.join(names)}: the model needs {wanted}, and band '{missing[0]}' is missing; give it, "
            "as NaN where it was not observed"
        )
    order = [names.index(band) for band in context.bands]
    return None if order == list(range(len(names))) else order


def _check_shape(context: Context, shape: Sequence[int]) -> None:
    expected = (len(context.bands), context.size, context.size)
    if len(shape) != 4 or tuple(shape[1:]) != expected:
        raise DataError(
            f"images have shape {tuple(shape)}, this model takes (N, {', '.join(map(str, expected))}) with bands "
            f"{', '.join(context.bands)}; crop or reorder them"
        )
    if not shape[0]:
        raise DataError(f"images have shape {tuple(shape)}: there are none; give at least one")


def _fitting(name: str, values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return values of an expected shape, or of its last axes."""
    if values.ndim > len(shape) or values.shape != shape[len(shape) - values.ndim :]:
        raise DataError(f"{name} has shape {values.shape}, must be {shape}; give one value for each")
    return np.broadcast_to(values, shape)


def _prepare_planes(
    planes: Mapping[str, ArrayLike], shape: tuple[int, ...], order: list[int] | None, factor: float
) -> dict[str, NDArray[Any]]:
    known = {"variance": factor**2, "mask": 1.0, "psf": 1.0}
    prepared = {}
    for name, values in planes.items():
        if name not in known:
            raise DataError(f"planes: '{name}' is not known; accepted: {', '.join(known)}; correct the name")
        plane = _numbers(f"planes: {name}", values)
        plane = plane[None] if plane.ndim == 3 else plane
        plane = plane[:, order] if order is not None and plane.ndim == 4 else plane
        length = 2 if name == "psf" else 4
        if plane.ndim != 4 or plane.shape[:length] != shape[:length]:
            raise DataError(f"planes: {name} has shape {plane.shape}, the images {shape}; give one for each image")
        prepared[name] = plane.astype(np.uint8) if name == "mask" else _scaled(plane, known[name])
    return prepared
