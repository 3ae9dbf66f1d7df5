"""A survey of a dozen toy galaxies."""

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from astrodl.config import IngestSettings, parse

SIZE = 32
ZERO_POINTS = {"g": 25.0, "r": 26.0}
N = 12


def galaxy(number: int, size: int = SIZE) -> np.ndarray:
    rng = np.random.default_rng(number)
    y, x = np.indices((size, size)) - (size - 1) / 2
    image = 100 * np.exp(-(x**2 + y**2) / 18)
    return (image + rng.normal(0, 1, (size, size))).astype(np.float32)


def write_object(path: Path, number: int, size: int = SIZE, bands: str = "gr", zero_points: bool = True) -> None:
    hdus: list[Any] = [fits.PrimaryHDU()]
    for band in bands:
        hdu = fits.ImageHDU(galaxy(number, size) * (1 + (band == "r")), name=band)
        hdu.header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.1 / 3600, "CDELT2": 0.1 / 3600})
        if zero_points:
            hdu.header["MAGZERO"] = ZERO_POINTS[band]
        hdus.append(hdu)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path, overwrite=True)


def catalog(n: int = N) -> Table:
    rng = np.random.default_rng(0)
    return Table(
        {
            "objid": 587722981733826738 + np.arange(n),
            "ra": rng.uniform(0, 360, n),
            "dec": rng.uniform(-60, 60, n),
            "z_spec": MaskedColumn(rng.uniform(0, 1, n), mask=np.arange(n) == 1),
            "kind": ["S" if k % 2 else "E" for k in range(n)],
            "n_visits": MaskedColumn(np.arange(n), mask=np.arange(n) == 2),
        }
    )


def settings(root: Path, **data: Any) -> IngestSettings:
    values: dict[str, Any] = {
        "root": str(root),
        "catalog": "catalog.fits",
        "layout": "extensions",
        "path": "images/{objid}.fits",
        "bands": [{"name": "g"}, {"name": "r"}],
        "id_column": "objid",
        "size": SIZE,
        "max_bad_fraction": 0.5,
    }
    split = data.pop("split", {"test": 0.3, "validation": 0.3})
    return parse(IngestSettings, {"survey": "toy", "data": values | data, "split": split})


def image_file(root: Path, number: int) -> Path:
    return sorted((root / "images").iterdir())[number]


def quarantine(folder: Path) -> Table:
    return Table.read(folder / "quarantine.ecsv", format="ascii.ecsv")
