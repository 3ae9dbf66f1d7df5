"""Mosaics: images of several bands read part by part, the tiles that cover them, and FITS files written in place."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astrodl.errors import DataError
from astrodl.fits.counts import DAMAGED, check_counts
from astrodl.fits.units import to_microjansky, zero_point

__all__ = ["ArrayMosaic", "FitsMosaic", "Mosaic", "MosaicWriter", "Tile", "tile_image"]

_BLOCK = 2880


class Mosaic(Protocol):
    """Images of several bands, (bands, y, x)."""

    shape: tuple[int, int, int]

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Read a part of all bands, in the unit of the network."""


class ArrayMosaic:
    """A mosaic in memory."""

    def __init__(self, images: NDArray[np.float32]):
        self._images = images
        self.shape = (images.shape[0], images.shape[1], images.shape[2])

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Read a part of all bands."""
        return self._images[:, rows, columns]


class FitsMosaic:
    """A mosaic in FITS files: one per band in the order of the bands, or one with an extension or a plane per band.

    Parameters
    ----------
    paths
        The files.
    bands
        Names of the bands; of a file with extensions, those of the extensions.
    unit
        Unit of the network: fluxes in counts are converted with the zero point of the header if it is "uJy".

    Raises
    ------
    DataError
        The number of files or planes is not that of the bands, the images have different sizes, or one has no zero
        point.
    """

    def __init__(self, paths: Sequence[Path], bands: Sequence[str], unit: str):
        self._stack = ExitStack()
        self._paths = paths
        try:
            with self._refusing_damage():
                self._open(paths, bands, unit)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, paths: Sequence[Path], bands: Sequence[str], unit: str) -> None:
        files = [self._open_file(path) for path in paths]
        if len(files) == len(bands):
            self._planes: list[tuple[Any, int | None]] = [
                (_first_image(file, path), None) for file, path in zip(files, paths, strict=True)
            ]
        elif len(files) == 1:
            self._planes = _planes_of_bands(files[0], paths[0], bands)
            files, paths = files * len(bands), list(paths) * len(bands)
        else:
            raise DataError(
                f"{len(paths)} images: the network takes {', '.join(bands)}; give one file per band, or one"
            )
        shapes = {hdu.shape[-2:] for hdu, _ in self._planes}
        if len(shapes) > 1:
            raise DataError(
                f"images have the sizes {sorted(shapes)}: all bands must have the same pixels; resample them"
            )
        height, width = shapes.pop()
        self.shape = (len(bands), height, width)
        self.header = self._planes[0][0].header
        self._factors = [
            _flux_factor(hdu, file, path, unit) for (hdu, _), file, path in zip(self._planes, files, paths, strict=True)
        ]

    def _open_file(self, path: Path) -> fits.HDUList:
        if not path.exists():
            raise DataError(f"{path}: no such file; correct the path")
        check_counts(path)
        # astropy leaves a file that it opened itself open after an error
        stream = self._stack.enter_context(path.open("rb"))
        return self._stack.enter_context(fits.open(stream, memmap=True))

    @contextmanager
    def _refusing_damage(self) -> Iterator[None]:
        try:
            yield
        except DAMAGED as error:
            names, reason = ", ".join(map(str, self._paths)), " ".join(str(error).split())
            raise DataError(f"{names}: not readable FITS ({reason:.200}); give another copy") from None

    def __enter__(self) -> "FitsMosaic":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Read a part of all bands."""
        with self._refusing_damage():
            parts = [
                hdu.section[rows, columns] if plane is None else hdu.section[plane, rows, columns]
                for hdu, plane in self._planes
            ]
        scaled = [np.asarray(part, np.float64) * factor for part, factor in zip(parts, self._factors, strict=True)]
        return np.stack(scaled).astype(np.float32)


def _first_image(file: fits.HDUList, path: Path) -> Any:
    images = [hdu for hdu in file if getattr(hdu, "shape", None) and hdu.is_image and len(hdu.shape) == 2]
    if not images:
        raise DataError(
            f"{path}: has no two-dimensional image; give one file per band, or one with an extension per band"
        )
    return images[0]


def _planes_of_bands(file: fits.HDUList, path: Path, bands: Sequence[str]) -> list[tuple[Any, int | None]]:
    """Return the extension of each band, or the planes of a cube."""
    named = {hdu.name.casefold(): hdu for hdu in file if hdu.is_image and len(hdu.shape) == 2}
    if all(band.casefold() in named for band in bands):
        return [(named[band.casefold()], None) for band in bands]
    for hdu in file:
        if hdu.is_image and len(hdu.shape) == 3 and hdu.shape[0] == len(bands):
            return [(hdu, plane) for plane in range(len(bands))]
    found = ", ".join(f"{hdu.name or 'primary'} {hdu.shape}" for hdu in file if hdu.is_image and hdu.shape)
    raise DataError(
        f"{path}: has {found or 'no image'}; must have an extension named like each of {', '.join(bands)}, or a "
        f"cube of {len(bands)} planes; or give one file per band"
    )


def _flux_factor(hdu: Any, file: fits.HDUList, path: Path, unit: str) -> float:
    if unit != "uJy":
        return 1.0
    cards, primary = (SimpleNamespace(cards=dict(header)) for header in (hdu.header, file[0].header))
    found = zero_point(cards, primary)
    if found is None:
        raise DataError(
            f"{path}: the network takes microjansky per pixel, and the header has no zero point; add MAGZERO, or BUNIT "
            "such as 'uJy'"
        )
    return to_microjansky(found)


@dataclass(frozen=True)
class Tile:
    """A part of an image, and the weight of its pixels in the whole."""

    rows: slice
    columns: slice
    weight: NDArray[np.float32]
    """(rows, columns); the weights of all tiles sum to one in each pixel."""


def tile_image(height: int, width: int, size: int, margin: int, step: int) -> Iterator[Tile]:
    """Divide an image into overlapping tiles with weights that blend them.

    Within `margin` pixels of a border that is not the image's, the weight is zero: a network does not see there what it
    sees in the whole image. Beyond it, the weight rises linearly over the rest of the overlap.

    Parameters
    ----------
    height, width
        Size of the image, multiples of `step`.
    size
        Side of a tile, a multiple of `step` of more than ``2 margin + 2 step``.
    margin
        Pixels without weight.
    step
        Tiles start at multiples of it.
    """
    rows, columns = (_divide(length, size, margin, step) for length in (height, width))
    for part, row_weight in rows:
        for other, column_weight in columns:
            yield Tile(part, other, np.outer(row_weight, column_weight).astype(np.float32))


def _divide(length: int, size: int, margin: int, step: int) -> list[tuple[slice, NDArray[np.float64]]]:
    """Return the intervals of an axis, and their weights."""
    if length <= size:
        return [(slice(0, length), np.ones(length))]
    ramp = step
    stride = (size - 2 * margin - ramp) // step * step
    if stride <= 0:
        raise DataError(f"tile = {size}: must be more than {2 * margin + 2 * step} pixels for this network")
    starts = [*range(0, length - size, stride), length - size]
    weights = np.zeros((len(starts), length))
    for row, start in zip(weights, starts, strict=True):
        position = np.arange(size)
        rise = np.clip((position - margin + 0.5) / ramp, 0, 1) if start else np.ones(size)
        fall = np.clip((size - position - margin - 0.5) / ramp, 0, 1) if start + size < length else np.ones(size)
        row[start : start + size] = rise * fall
    weights /= weights.sum(axis=0)
    return [(slice(s, s + size), row[s : s + size]) for s, row in zip(starts, weights, strict=True)]


class MosaicWriter:
    """A FITS file of image extensions that are filled part by part, without being in memory.

    Parameters
    ----------
    path
        File to create.
    names
        Names of the extensions.
    shape
        Size of each, (y, x).
    header
        Cards of each extension, such as a WCS.
    primary
        Cards of the primary header.
    units
        BUNIT by name of the extension.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        shape: tuple[int, int],
        header: fits.Header,
        primary: Mapping[str, str],
        units: Mapping[str, str],
    ):
        self.planes: dict[str, NDArray[np.float32]] = {}
        n_bytes = 4 * shape[0] * shape[1]
        positions = {}
        with path.open("wb") as file:
            first = fits.PrimaryHDU().header
            first.update(primary)
            first["EXTEND"] = True
            file.write(first.tostring().encode("ascii"))
            for name in names:
                cards = fits.ImageHDU(np.zeros((1, 1), ">f4"), name=name).header
                cards["NAXIS1"], cards["NAXIS2"] = shape[1], shape[0]
                cards.extend(header, unique=True)
                if name in units:
                    cards["BUNIT"] = units[name]
                file.write(cards.tostring().encode("ascii"))
                positions[name] = file.tell()
                file.seek(-(-n_bytes // _BLOCK) * _BLOCK, 1)
            file.truncate()
        for name, position in positions.items():
            self.planes[name] = np.memmap(path, ">f4", "r+", position, shape)

    def add(self, name: str, rows: slice, columns: slice, values: NDArray[np.floating]) -> None:
        """Add values to a part of an extension, which starts at zero."""
        self.planes[name][rows, columns] += values

    def close(self) -> None:
        """Write everything to the disk."""
        for plane in self.planes.values():
            plane.flush()  # type: ignore[attr-defined]
        self.planes.clear()
