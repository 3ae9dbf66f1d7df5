"""The verb embed: from a store and trained networks to a vector per object."""

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

import astrodl
from astrodl.atomic import FilePath
from astrodl.calibration.training_range import INPUT_FLAGS
from astrodl.data.batches import Cutouts, DirectReader, StreamedDataset
from astrodl.device import choose_device
from astrodl.errors import ConfigError, StoreError
from astrodl.pipeline.input_columns import object_identifiers
from astrodl.pipeline.predict import PREDICT_BATCH, model_inputs
from astrodl.pipeline.suitability import InputCheck, check_models, list_files, require_other_output
from astrodl.products.vectors import check_suffix, stream_vectors
from astrodl.progress import progress_bar
from astrodl.store import Reader
from astrodl.tasks.base import Arrays
from astrodl.tasks.model import Model, load_model

__all__ = ["embed"]


def embed(
    models: Sequence[FilePath] | FilePath,
    store: FilePath,
    out: FilePath,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: bool | None = None,
    force: bool = False,
) -> Path:
    """Compute the vector of every object of a store before the head of trained networks, block by block.

    The vectors of several networks, of one task or of different ones, are put one after the other: their axes differ,
    so that a mean would mean nothing. An object without any data has NaN. Objects unlike the training objects are
    warned of, as in `astrodl.predict`.

    Parameters
    ----------
    models : path, or sequence of path
        Model files of any tasks whose networks make vectors.
    store : path
        Store written by `astrodl ingest`.
    out : path
        File to write, FITS or Parquet by its suffix: see `astrodl.products.vectors`.
    device : str
        auto, cpu or cuda.
    threads : int, optional
        CPU threads.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.
    force : bool
        Embed images in another unit than that of the training, also where a task refuses them.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        No model is given, one is given twice, its task makes no vectors, or the output is an input or no known format.
    StoreError
        A model does not fit the store, or the store is empty.

    Examples
    --------
    >>> astrodl.embed("morphology/model.safetensors", "store.h5", "vectors.fits")  # doctest: +SKIP
    """
    choose_device(device, threads)
    out, models = check_suffix(out), list_files(models)
    require_other_output(out, store, *models)
    loaded = [load_model(path, device=device) for path in models]
    with DirectReader(store) as reader:
        _check(reader, loaded, models, force)
        checks = [InputCheck([model], reader) for model in loaded]
        blocks = _iterate_vectors(loaded, reader, checks)
        first = next(blocks)
        provenance = _provenance(reader, loaded, [part.shape[1] for part in first])
        names = " + ".join(model.task.name for model in loaded)
        with (
            stream_vectors(out, len(reader), provenance, width=reader.identifier_width) as write,
            progress_bar(f"embed {names}", len(reader), progress) as show,
        ):
            start = 0
            for parts in chain([first], blocks):
                vectors = np.concatenate(parts, axis=1)
                stop = start + len(vectors)
                ids = object_identifiers(reader, start, stop)
                # FITS has no unsigned integers of 64 bits
                write(ids.astype(str) if ids.dtype == np.uint64 else ids, vectors)
                start = stop
                show(start, "")
        pairs = zip(loaded, checks, strict=True)
        for line in sorted({f"{model.task.name}: {line}" for model, check in pairs for line in check.describe()}):
            print(f"{reader.path}: warning: {line}", file=sys.stderr)
    return out


def _check(reader: Reader, models: Sequence[Model], paths: Sequence[FilePath], force: bool) -> None:
    """Check that the store has objects, and that each model fits it and is given once."""
    if not models:
        raise ConfigError("models: none is given; give the model.safetensors of a network")
    if not len(reader):
        raise StoreError(f"{reader.path}: holds no objects; ingest some")
    seen: dict[str, FilePath] = {}
    for path, model in zip(paths, models, strict=True):
        check_models(reader, model.task.name, [model], [path], force=force)
        fingerprint = model.metadata["fingerprint"]
        if fingerprint in seen:
            raise ConfigError(f"{path}: the same training as {seen[fingerprint]}; give each model once")
        seen[fingerprint] = path


def _provenance(reader: Reader, models: Sequence[Model], dimensions: Sequence[int]) -> dict[str, str]:
    header = {"SURVEY": reader.survey, "ASTRODL": astrodl.__version__, "STORE": reader.fingerprint}
    for number, (model, dimension) in enumerate(zip(models, dimensions, strict=True), start=1):
        header[f"TASK{number}"] = model.task.name
        header[f"MODEL{number}"] = model.metadata["fingerprint"]
        header[f"DIM{number}"] = str(dimension)
    return header


def _iterate_vectors(
    models: Sequence[Model], store: Reader, checks: Sequence[InputCheck]
) -> Iterator[list[np.ndarray]]:
    """Yield the vectors of batches of consecutive objects, (n, d) of each model.

    A thread reads and prepares the next batches while the networks compute.
    """

    def read(indices: np.ndarray) -> Arrays:
        arrays: Arrays = {}
        cutouts: dict[tuple[tuple[str, ...], ...], Cutouts] = {}
        for number, (model, check) in enumerate(zip(models, checks, strict=True)):
            needs = model.task.context.bands, model.task.planes
            if needs not in cutouts:
                cutouts[needs] = model.task.read(store, indices)
            check.add(indices, cutouts[needs])
            arrays |= {f"{number} {name}": array for name, array in model.task.inputs(cutouts[needs]).items()}
        return arrays

    batches = StreamedDataset(read, np.arange(len(store)), models[0].device).in_order(PREDICT_BATCH)
    for start, batch in zip(range(0, len(store), PREDICT_BATCH), batches, strict=True):
        everything = np.ones(len(next(iter(batch.values()))), bool)
        parts = []
        for number, (model, check) in enumerate(zip(models, checks, strict=True)):
            vectors = model.embed_batch(model_inputs(number, batch, everything)).numpy()
            flags = check.flags(start, everything[None])
            vectors[flags & INPUT_FLAGS["no_data"] > 0] = np.nan
            parts.append(vectors)
        yield parts
