"""Tell what is wrong with a file of the pipeline, by the kind of file that it is."""

from collections.abc import Callable
from pathlib import Path

from astrodl.errors import AstrodlError


def problems(path: Path) -> list[str]:
    """List the problems of a file, whichever its kind (`KINDS`); empty where it is fine."""
    kinds = KINDS.get(path.suffix.lower())
    if kinds is None:
        return [f"{path}: kind of file is not known; accepted: {', '.join(sorted(KINDS))}"]
    if not path.is_file():
        return [f"{path}: no such file; give an existing one"]
    try:
        return [line if str(path) in line else f"{path}: {line}" for line in kinds(path)]
    except AstrodlError as error:
        return [str(error)]


def _config(path: Path) -> list[str]:
    from astrodl.schema import load_config

    load_config(path)
    return []


def _metrics(path: Path) -> list[str]:
    from astrodl.summary import read_metrics

    read_metrics(path)
    return []


def _catalog(path: Path) -> list[str]:
    from astrodl.catalog import read_catalog

    read_catalog(path)
    return []


def _model(path: Path) -> list[str]:
    from astrodl.tasks.model import load_model

    load_model(path, device="cpu")
    return []


def _hdf5(path: Path) -> list[str]:
    import h5py

    from astrodl import store

    if not h5py.is_hdf5(path):
        return [f"{path}: not an HDF5 file; write it again"]
    with h5py.File(path, "r") as file:
        pdfs = "meta" in file and "data" in file
        predictions = file.attrs.get("format") == "astrodl-predictions"
    if pdfs:
        return _pdfs(path)
    return [] if predictions else store.check(path)


def _pdfs(path: Path) -> list[str]:
    from astrodl.pdfs import read_pdfs

    read_pdfs(path)
    return []


KINDS: dict[str, Callable[[Path], list[str]]] = {
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".safetensors": _model,
    ".fits": _catalog,
    ".yaml": _config,
    ".yml": _config,
    ".json": _metrics,
}
