"""The verb check: problems of the files of the pipeline."""

import os
from collections.abc import Callable
from pathlib import Path

from astrodl.errors import AstrodlError

__all__ = ["check"]


def check(path: str | os.PathLike[str]) -> list[str]:
    """List the problems of a file of the pipeline.

    Parameters
    ----------
    path
        Store, model, predictions, metrics, `baseline.json`, history, catalogue, vectors, p(z) file or YAML
        configuration.

    Returns
    -------
    list of str
        One line per problem; empty where there is none.

    Examples
    --------
    >>> astrodl.check("config/config.yaml")  # doctest: +SKIP
    []
    """
    path = Path(path)
    find_problems = _CHECKS.get(path.suffix.lower())
    if find_problems is None:
        return [f"{path}: kind of file is not known; accepted: {', '.join(sorted(_CHECKS))}"]
    if not path.is_file():
        return [f"{path}: no such file; give an existing one"]
    try:
        return [line if str(path) in line else f"{path}: {line}" for line in find_problems(path)]
    except AstrodlError as error:
        return [str(error)]


def _config(path: Path) -> list[str]:
    from astrodl.pipeline.schema import load_config
    from astrodl.pipeline.survey_problems import catalogue_problems, explanation_problems, pixel_problems

    config = load_config(path)
    surveys = config.surveys.values()
    catalogues = catalogue_problems(survey.data for survey in surveys if survey.data is not None)
    return [*catalogues, *pixel_problems(config), *explanation_problems(config)]


def _json(path: Path) -> list[str]:
    from astrodl.pipeline.reports import read_baseline
    from astrodl.pipeline.summary import read_metrics

    (read_baseline if path.name == "baseline.json" else read_metrics)(path)
    return []


def _history(path: Path) -> list[str]:
    from astrodl.pipeline.reports import read_history

    read_history(path)
    return []


def _catalog(path: Path) -> list[str]:
    from astrodl.products import read_catalog

    read_catalog(path)
    return []


def _vectors(path: Path) -> list[str]:
    from astrodl.products import Vectors

    for _ in Vectors(path).blocks():
        pass
    return []


def _model(path: Path) -> list[str]:
    from astrodl.tasks.model import load_model

    load_model(path, device="cpu")
    return []


def _hdf5(path: Path) -> list[str]:
    import h5py

    from astrodl import store
    from astrodl.hdf5 import guarded_hdf5
    from astrodl.pipeline.survey_problems import identifier_problems

    if not h5py.is_hdf5(path):
        return [f"{path}: not an HDF5 file; write it again"]
    try:
        with guarded_hdf5(path) as file:
            pdfs = "meta" in file and "data" in file
            predictions = file.attrs.get("format") == "astrodl-predictions"
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        return [f"{path}: not a readable HDF5 file ({' '.join(str(error).split())[:120]}); write it again"]
    if pdfs:
        return _pdfs(path)
    return _predictions(path) if predictions else store.check(path) or identifier_problems(path)


def _predictions(path: Path) -> list[str]:
    from astrodl.pipeline.predictions import Predictions

    Predictions(path).check()
    return []


def _pdfs(path: Path) -> list[str]:
    from astrodl.products.pdfs import read_pdfs

    read_pdfs(path)
    return []


_CHECKS: dict[str, Callable[[Path], list[str]]] = {
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".safetensors": _model,
    ".fits": _catalog,
    ".parquet": _vectors,
    ".yaml": _config,
    ".yml": _config,
    ".json": _json,
    ".jsonl": _history,
}
