"""The verb segment: clumps, bulge and disk in images of any size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

import astrodl
from astrodl.atomic import FilePath, replacing
from astrodl.device import choose_device
from astrodl.errors import ConfigError, DataError, StoreError
from astrodl.fits.counts import DAMAGED, check_counts
from astrodl.models.unet import DecompositionUNet
from astrodl.photometry.clumps import Clumps, find_peaks, measure_fluxes
from astrodl.photometry.sky import border_sky
from astrodl.pipeline.mosaic import ArrayMosaic, FitsMosaic, Mosaic, MosaicWriter, Tile, tile_image
from astrodl.pipeline.suitability import list_files, require_other_output
from astrodl.products import FITS_SUFFIXES, require_suffix
from astrodl.progress import progress_bar
from astrodl.tasks.base import Arrays
from astrodl.tasks.image_arrays import convert_fluxes
from astrodl.tasks.inputs import fill_missing
from astrodl.tasks.model import Model, load_model
from astrodl.tasks.segmentation import Segmentation
from astrodl.tasks.segmentation.clumps import clump_probability, correct_fluxes, flux_columns
from astrodl.tasks.segmentation.point_spread import describe_psf

__all__ = ["TILE", "read_psf", "segment"]

TILE = 1024
"""Side of a tile in pixels."""
_STRIP = 1024
"""Rows in which clumps are searched at a time."""
_BORDER = 8
"""Rows beyond a strip that its peaks need."""
_FIT_PIXELS = 16
"""Half the side of the cutout in which the flux of a clump is measured."""


def segment(
    model: FilePath | Model,
    images: Any,
    out: FilePath | None = None,
    *,
    psf: ArrayLike | None = None,
    tile: int = TILE,
    device: str = "auto",
    threads: int | None = None,
    progress: bool | None = None,
) -> Path | Arrays:
    """Find clumps and divide the light among bulge, disk and clumps in images of any size.

    The image is predicted in overlapping tiles whose results are blended. The overlap is as wide as the network sees,
    so that the result is that of the whole image at once, but for rounding. With `unet.norm` group, layer or instance,
    which average over the image, the tiles differ a little from the whole.

    Parameters
    ----------
    model : path or Model
        Model of the task segmentation.
    images : (bands, y, x) array, or path, or sequence of path
        Fluxes in the unit of the training, or a Quantity, which is converted; NaN where there is no data. Or FITS
        files: one per band in the order of the network, or one with an extension per band or a cube. Files are
        converted to microjansky by the zero point of their header.
    out : path, optional
        FITS file to write: extensions CLUMP (probability), CENTRE (of clumps), SEGMENT, BAR and ARM (if the network
        was trained for them), BULGE_b, DISK_b and CLUMP_b (fluxes in each band b of the labels, in the unit of the
        network: their sum is the image), and a table CLUMPS. Without it, the maps are returned. Pixels without data in
        all bands are NaN.
    psf : (bands, k, k) array, optional
        Point-spread function, for networks that take it.
    tile : int
        Side of a tile in pixels, a multiple of 2 to the number of levels of the U-Net.
    device : str
        auto, cpu or cuda.
    threads : int, optional
        CPU threads.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.

    Returns
    -------
    path or dict of arrays
        The file, or the maps `clump`, `centre` and perhaps `segment`, `bar` and `arm`, (y, x), and `fraction`,
        (bands, 3, y, x).

    Raises
    ------
    ConfigError
        The tile is too small, or not a multiple.
    DataError
        The images do not fit the network.
    StoreError
        The model is of another task.

    Examples
    --------
    >>> astrodl.segment("model.safetensors", ["g.fits", "r.fits", "i.fits"], "out.fits")  # doctest: +SKIP
    """
    if out is not None:
        require_suffix(out, FITS_SUFFIXES)
    choose_device(device, threads)
    loaded = model if isinstance(model, Model) else load_model(model, device=device)
    task = _task_of(loaded)
    vector = _describe(task, psf)
    is_array = hasattr(images, "shape") or hasattr(images, "unit")
    if is_array:
        mosaic = ArrayMosaic(_check_array(task, images))
        if out is not None:
            raise ConfigError("out: needs FITS files as images, whose header it takes; give paths, or leave out `out`")
        return _segment_array(loaded, mosaic, vector, tile, progress)
    paths = list_files(images)
    if out is None:
        raise ConfigError("out: is missing; name the FITS file to write, or give the images as an array")
    require_other_output(out, *paths, *([] if isinstance(model, Model) else [model]))
    with FitsMosaic([Path(path) for path in paths], task.context.bands, task.context.unit) as opened:
        _segment_files(loaded, opened, vector, Path(out), tile, progress)
    return Path(out)


def read_psf(path: Path) -> NDArray[np.float32]:
    """Read point-spread functions from the first cube of a FITS file, (bands, k, k)."""
    try:
        check_counts(path)
        with open(path, "rb") as stream, fits.open(stream) as file:
            for hdu in file:
                if hdu.is_image and hdu.data is not None and hdu.data.ndim == 3:
                    return np.asarray(hdu.data, np.float32)
    except DAMAGED as error:
        raise DataError(f"{path}: not a readable FITS file ({error}); give another copy") from None
    raise DataError(f"{path}: has no image of three axes; give a cube with a plane per band")


def _task_of(model: Model) -> Segmentation:
    if not isinstance(model.task, Segmentation):
        raise StoreError(
            f"task = {model.task.name}: not a model of segmentation; give one that 'train segmentation' wrote"
        )
    return model.task


def _check_array(task: Segmentation, images: Any) -> NDArray[np.float32]:
    array = convert_fluxes(task.context, images)
    bands = task.context.bands
    if array.ndim != 3 or len(array) != len(bands):
        raise DataError(
            f"images have shape {array.shape}, this network takes ({len(bands)}, y, x) with bands {', '.join(bands)}; "
            "reorder them"
        )
    return array


def _describe(task: Segmentation, psf: ArrayLike | None) -> torch.Tensor | None:
    scaling = task.context.constants["psf"]
    if scaling is None:
        if psf is not None:
            raise DataError("psf: this network was trained without point-spread functions; leave it out")
        return None
    if psf is None:
        raise DataError("psf: the network takes the point-spread function; give it as an array (bands, k, k)")
    planes = np.asarray(psf, np.float32)
    if planes.ndim != 3 or len(planes) != len(task.context.bands):
        raise DataError(f"psf has shape {planes.shape}, must be ({len(task.context.bands)}, k, k); give one per band")
    if not (np.isfinite(planes).all() and (planes.sum((1, 2)) > 0).all()):
        raise DataError("psf: is not finite, or its sum in a band is not positive; give measured ones")
    return torch.from_numpy(describe_psf(planes[None], scaling))


# -- tiles ------------------------------------------------------------------------------------------------------------


def _segment_array(
    model: Model, mosaic: ArrayMosaic, psf: torch.Tensor | None, tile: int, progress: bool | None
) -> Arrays:
    n_bands, (height, width) = len(model.task.context.constants["fraction_bands"]), mosaic.shape[1:]
    maps: Arrays = {
        "clump": np.zeros((height, width), np.float32),
        "centre": np.zeros((height, width), np.float32),
        "fraction": np.zeros((n_bands, 3, height, width), np.float32),
    }
    maps |= {name: np.zeros((height, width), np.float32) for name in _task_of(model).masks}
    for tiled, predicted in _predict_tiles(model, mosaic, psf, tile, progress):
        for name, values in predicted.items():
            maps[name][..., tiled.rows, tiled.columns] += values * tiled.weight
    return maps


def _predict_tiles(
    model: Model, mosaic: Mosaic, psf: torch.Tensor | None, size: int, progress: bool | None
) -> Iterator[tuple[Tile, Arrays]]:
    """Yield the tiles, cropped to the image, and their maps."""
    network = model.network
    step, margin = network.unet.factor, network.unet.reach
    if size % step:
        raise ConfigError(f"tile = {size}: must be a multiple of {step} for this network; round it up")
    _, height, width = mosaic.shape
    padded = (height + -height % step, width + -width % step)
    tiles = list(tile_image(*padded, size, margin, step))
    with progress_bar("segment", len(tiles), progress, unit="tiles") as show:
        for number, tiled in enumerate(tiles):
            maps = _predict_tile(model, mosaic, tiled, psf)
            rows = slice(tiled.rows.start, min(tiled.rows.stop, height))
            columns = slice(tiled.columns.start, min(tiled.columns.stop, width))
            crop = (slice(0, rows.stop - rows.start), slice(0, columns.stop - columns.start))
            cropped = {name: values[(..., *crop)] for name, values in maps.items()}
            yield Tile(rows, columns, tiled.weight[crop]), cropped
            show(number + 1)


@torch.no_grad()
def _predict_tile(model: Model, mosaic: Mosaic, tiled: Tile, psf: torch.Tensor | None) -> Arrays:
    """Predict the maps of a tile, NaN where no band has data; beyond the image there is none."""
    task = _task_of(model)
    rows, columns = tiled.rows, tiled.columns
    pixels = mosaic.read(
        slice(rows.start, min(rows.stop, mosaic.shape[1])), slice(columns.start, min(columns.stop, mosaic.shape[2]))
    )
    missing = (tiled.weight.shape[0] - pixels.shape[1], tiled.weight.shape[1] - pixels.shape[2])
    pixels = np.pad(pixels, ((0, 0), (0, missing[0]), (0, missing[1])), constant_values=np.nan)
    image = fill_missing(task.context.normalization.apply(pixels))
    if task.context.sees_coverage:
        image = np.concatenate([image, np.isfinite(pixels).astype(np.float32)])
    batch = torch.from_numpy(image)[None].to(model.device)
    condition = None if psf is None else psf.to(model.device)
    network: DecompositionUNet = model.predictor  # type: ignore[assignment]
    maps = task.predict_maps(network, batch, condition)
    empty = np.isnan(pixels).all(0)
    return {
        name: np.where(empty, np.float32(np.nan), values[0].cpu().numpy())
        for name, values in maps.items()
        if name != "light"
    }


# -- files ------------------------------------------------------------------------------------------------------------


def _segment_files(
    model: Model, mosaic: FitsMosaic, psf: torch.Tensor | None, out: Path, tile: int, progress: bool | None
) -> None:
    task, (_, height, width) = _task_of(model), mosaic.shape
    bands = task.fraction_bands
    parts = [f"{part}_{band}" for band in bands for part in ("BULGE", "DISK", "CLUMP")]
    probabilities = ["clump", "centre", *task.masks]
    unit = task.context.unit if task.context.unit != "relative" else ""
    header = _wcs_header(mosaic.header)
    primary = {"CREATOR": f"astrodl {astrodl.__version__}", "REFBAND": task.reference_band}
    with replacing(out) as temporary:
        writer = MosaicWriter(
            temporary, [*map(str.upper, probabilities), *parts], (height, width), header, primary,
            dict.fromkeys(parts, unit),
        )  # fmt: skip
        for tiled, maps in _predict_tiles(model, mosaic, psf, tile, progress):
            where = (tiled.rows, tiled.columns)
            for name in probabilities:
                writer.add(name.upper(), *where, maps[name] * tiled.weight)
            observed = mosaic.read(*where)[task.context.constants["fraction_bands"]]
            for number, band in enumerate(bands):
                flux = maps["fraction"][number] * (observed[number] * tiled.weight)
                for part, values in zip(("BULGE", "DISK", "CLUMP"), flux, strict=True):
                    writer.add(f"{part}_{band}", *where, values)
        table = _clump_table(task, mosaic, writer.planes["CENTRE"], header)
        writer.close()
        fits.append(temporary, table.data, table.header)


def _wcs_header(header: fits.Header) -> fits.Header:
    """Return the cards of a header that say where the pixels are on the sky."""
    kept = fits.Header()
    for card in header.cards:
        if card.keyword.startswith(_WCS_PREFIXES) and card.keyword not in kept:
            kept.append(card)
    return kept


_WCS_PREFIXES = (
    "CTYPE", "CRPIX", "CRVAL", "CDELT", "CUNIT", "CD1_", "CD2_", "PC1_", "PC2_", "PC001", "PC002", "PV1_", "PV2_",
    "CROTA", "LONPOLE", "LATPOLE", "RADESYS", "RADECSYS", "EQUINOX", "A_", "B_", "AP_", "BP_", "WCSAXES", "WCSNAME",
)  # fmt: skip


def _clump_table(task: Segmentation, mosaic: FitsMosaic, centre: NDArray[np.float32], header: fits.Header) -> Any:
    """List the clumps of a mosaic with fluxes, and positions on the sky where there is a WCS."""
    constants, found = task.context.constants, _search(centre, task)
    widths = np.array(constants["clump_widths"])
    sky = _sky_noise(mosaic)
    flux, error = np.full((2, len(found.x), mosaic.shape[0]), np.nan)
    for number in range(len(found.x)):
        row, column = round(found.y[number]), round(found.x[number])
        rows = slice(max(0, row - _FIT_PIXELS), min(mosaic.shape[1], row + _FIT_PIXELS + 1))
        columns = slice(max(0, column - _FIT_PIXELS), min(mosaic.shape[2], column + _FIT_PIXELS + 1))
        near = np.flatnonzero(
            (found.y >= rows.start) & (found.y < rows.stop) & (found.x >= columns.start) & (found.x < columns.stop)
        )
        own = int(np.flatnonzero(near == number)[0])
        values = measure_fluxes(
            mosaic.read(rows, columns), found.y[near] - rows.start, found.x[near] - columns.start, sky, widths, [own]
        )
        flux[number], error[number] = values[0][own], values[1][own]
    flux, error = correct_fluxes(flux, error, constants)
    columns_ = [
        fits.Column("x", "D", unit="pix", array=found.x),
        fits.Column("y", "D", unit="pix", array=found.y),
        *_sky_positions(found, header),
        fits.Column("probability", "E", array=clump_probability(found.value, constants)),
    ]
    for added in flux_columns(task.context.bands, task.context.unit, flux, error):
        columns_.append(fits.Column(added.name, "E", unit=added.unit, array=np.asarray(added.values)))
    return fits.BinTableHDU.from_columns(columns_, name="CLUMPS")


def _search(centre: NDArray[np.float32], task: Segmentation) -> Clumps:
    """Find the peaks of a map strip by strip."""
    threshold, parts = task.context.constants.get("centre_threshold", 0.5), []
    for start in range(0, len(centre), _STRIP):
        first, last = max(0, start - _BORDER), min(len(centre), start + _STRIP + _BORDER)
        peaks = find_peaks(np.asarray(centre[first:last], np.float32)[None], threshold, 1.5)
        row = np.rint(peaks.y) + first
        peaks = peaks._replace(y=peaks.y + first)
        parts.append(peaks.select((row >= start) & (row < start + _STRIP)))
    return Clumps(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _sky_noise(mosaic: FitsMosaic, side: int = 256) -> NDArray[np.float64]:
    """Measure the sky noise per band: the median over squares of that on their borders, (bands,)."""
    _, height, width = mosaic.shape
    noise = []
    for row in np.linspace(0, max(0, height - side), 3).astype(int):
        for column in np.linspace(0, max(0, width - side), 3).astype(int):
            part = mosaic.read(slice(row, row + side), slice(column, column + side))
            noise.append([border_sky(band)[1] for band in part])
    measured: NDArray[np.float64] = np.nanmedian(noise, axis=0)
    return measured


def _sky_positions(found: Clumps, header: fits.Header) -> list[fits.Column]:
    """Return right ascension and declination in degrees, where the header has a celestial WCS."""
    from astropy.wcs import WCS

    wcs = WCS(header)
    if not wcs.has_celestial:
        return []
    sky = wcs.celestial.pixel_to_world(found.x, found.y).icrs
    return [
        fits.Column("ra", "D", unit="deg", array=sky.ra.deg),
        fits.Column("dec", "D", unit="deg", array=sky.dec.deg),
    ]
