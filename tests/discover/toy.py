"""A survey of thirty galaxies, and commands that draft and ingest it."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits
from astropy.table import Table

from astrodl import cli
from astrodl.store import open_store
from astrodl.store.reader import Reader

N = 30
IDS = 7 * np.arange(1, N + 1)


def table(**columns: Any) -> Table:
    rng = np.random.default_rng(0)
    values = {"number": IDS, "ra": rng.uniform(10, 60, N), "dec": rng.uniform(-20, 20, N)}
    return Table(values | columns)


def write(path: Path, *images: Any) -> None:
    """Write a FITS file: an empty primary, then extensions given as (name, pixels, cards)."""
    hdus: list[Any] = [fits.PrimaryHDU()]
    for name, pixels, cards in images:
        hdus.append(fits.ImageHDU(pixels, name=name or None))
        hdus[-1].header.update(cards)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path, overwrite=True)


def run(folder: Path, *images: str, catalog: str = "catalog.csv", check: bool = True) -> dict[str, Any]:
    """Draft a configuration and return its data section."""
    out = folder / "survey.yaml"
    words = ["init", "--catalog", str(folder / catalog), "--out", str(out), "--name", "toy", "--force"]
    words += ["--images", *(str(folder / image) for image in images)] if images else []
    assert cli.main(words) == 0
    if check:
        assert cli.main(["check", str(out)]) == 0
    data: dict[str, Any] = yaml.safe_load(out.read_text())["surveys"]["toy"]["data"]
    return data


def ingest(folder: Path) -> Reader:
    """Ingest with the draft as it is."""
    words = ["ingest", "--settings", str(folder / "survey.yaml"), "--out", str(folder / "store.h5"), "--no-progress"]
    assert cli.main(words) == 0
    return open_store(folder / "store.h5")
