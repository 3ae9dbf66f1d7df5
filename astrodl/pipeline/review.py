"""The verb review: a page on which outliers or classes are labelled by eye."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astrodl.atomic import FilePath, write_text
from astrodl.errors import ConfigError, DataError, StoreError
from astrodl.pages.review import KEYS, review_page
from astrodl.pages.sprites import Sprites
from astrodl.pipeline.page_columns import BRIEF, Source, add_sprites, open_sources, read_columns
from astrodl.products import Column
from astrodl.store import Reader, open_store
from astrodl.tasks.morphology import Morphology

__all__ = ["OUTLIER_LABELS", "TASKS", "Queue", "check_count", "find_source", "list_predictions", "review", "write_page"]

TASKS = ("outliers", "morphology")
"""Tasks whose objects can be reviewed."""
OUTLIER_LABELS = ("interesting", "boring", "artefact")
N_OBJECTS = 200
"""Objects on a page, by default."""
_MOST = 5000


class Queue(NamedTuple):
    """Objects to look at, in order."""

    indices: NDArray[np.int64]
    why: list[str]
    """Why each object is shown."""
    about: str
    """The order in one sentence."""


def review(
    results: FilePath, *, task: str = "outliers", n_objects: int = N_OBJECTS, out: FilePath | None = None
) -> Path:
    """Write one HTML page, without server or network, on which objects get a label by a key.

    The page of the outliers shows the objects of highest score first, and their labels are interesting, boring and
    artefact. The page of morphology shows first the objects whose class is least certain: for which the network gives
    the class in the catalogue, or without one the most probable class, the lowest probability (Northcutt et al. 2021,
    JAIR 70, 1373). The browser keeps the labels, and the page saves them as CSV.

    Parameters
    ----------
    results : path
        Folder of a survey's results: `store.h5`, and `predictions.h5` of the tasks in folders of their names.
    task : str
        `outliers` or `morphology`.
    n_objects : int
        Most objects on the page.
    out : path, optional
        Page to write; by default `review.html` in the folder of the task.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ConfigError
        The task has no review, or `n_objects` is out of range.
    StoreError
        There are no predictions of the task, or they are of another store.
    DataError
        No object has a prediction.

    Examples
    --------
    >>> astrodl.review("results/demo")  # doctest: +SKIP
    """
    if task not in TASKS:
        raise ConfigError(f"task = {task!r}: must be one of {', '.join(TASKS)}; correct it")
    check_count(n_objects)
    results = Path(results)
    page = results / task / "review.html" if out is None else Path(out)
    with open_store(results / "store.h5") as reader:
        sources = open_sources(reader, list_predictions(results, task))
        source = find_source(sources, task)
        if task == "outliers":
            queue, classes = _most_unusual(source, n_objects), list(OUTLIER_LABELS)
        else:
            queue, classes = _least_certain(source, reader, n_objects)
        write_page(page, reader, sources, queue, classes, task=task)
    return page


def check_count(n_objects: int) -> None:
    """Check the number of objects of a page.

    Raises
    ------
    ConfigError
        It is out of range.
    """
    if not 1 <= n_objects <= _MOST:
        raise ConfigError(f"top = {n_objects}: must be from 1 to {_MOST}; correct it")


def list_predictions(results: Path, task: str) -> list[Path]:
    """List the predictions of a survey.

    Raises
    ------
    StoreError
        There are none of the task.
    """
    needed = results / task / "predictions.h5"
    if not needed.is_file():
        raise StoreError(
            f"{needed}: no such file; give the results of a survey with the task {task}, or predict it first"
        )
    return sorted(results.glob("*/predictions.h5"))


def find_source(sources: Sequence[Source], task: str) -> Source:
    """Return the predictions of a task.

    Raises
    ------
    StoreError
        There are none.
    """
    for predicted, predictor in sources:
        if predictor.name == task:
            return predicted, predictor
    raise StoreError(
        f"no predictions of task {task} among {', '.join(str(one.path) for one, _ in sources)}; predict again"
    )


def _most_unusual(source: Source, n_objects: int) -> Queue:
    """Return the objects of highest outlier score."""
    score = np.asarray(source[0].read(maps=False)["score"], np.float64)
    order = _sorted_known(score, ~source[0].empty, n_objects)
    why = [f"rank {number} of the outlier score" for number in range(1, len(order) + 1)]
    return Queue(order, why, f"The {len(order)} of {len(score)} objects with the highest outlier score.")


def _least_certain(source: Source, reader: Reader, n_objects: int) -> tuple[Queue, list[str]]:
    """Return the objects whose class is least certain, and the classes."""
    predicted, task = source
    assert isinstance(task, Morphology)
    if len(task.classes) > len(KEYS):
        raise ConfigError(f"{predicted.path}: {len(task.classes)} classes, at most {len(KEYS)} have a key; merge some")
    probability = np.asarray(predicted.read(maps=False)["probability"], np.float64)
    best = probability.argmax(1)
    label = np.full(len(best), -1)
    if reader.has_column(task.settings.target):
        label = task.truth(reader, np.arange(len(reader)))["label"]
    certainty = probability[np.arange(len(best)), np.where(label >= 0, label, best)]
    order = _sorted_known(-certainty, ~predicted.empty, n_objects)
    why = []
    for i in order:
        named = f"labelled {task.classes[label[i]]}" if label[i] >= 0 else f"predicted {task.classes[best[i]]}"
        why.append(f"{named}, to which the network gives {certainty[i]:.2f}")
    about = f"The {len(order)} of {len(best)} objects whose class is least certain."
    return Queue(order, why, about), list(task.classes)


def _sorted_known(values: NDArray[np.float64], known: NDArray[np.bool_], n_objects: int) -> NDArray[np.int64]:
    """Return the indices of the highest values."""
    usable = np.flatnonzero(known & np.isfinite(values))
    if not len(usable):
        raise DataError("no object has a prediction; predict objects that have data")
    return usable[np.argsort(-values[usable], kind="stable")][:n_objects]


def write_page(
    path: Path,
    reader: Reader,
    sources: Sequence[Source],
    queue: Queue,
    classes: Sequence[str],
    *,
    task: str,
    labels: Mapping[str, str] | None = None,
    extra: Sequence[Column] = (),
) -> None:
    """Write the review page of chosen objects.

    Parameters
    ----------
    path
        Page to write.
    reader, sources
        The survey.
    queue
        The objects.
    classes
        Labels.
    task
        Name of the task.
    labels
        Labels given before, by identifier.
    extra
        More columns of the objects, shown first.
    """
    columns = [*extra, *read_columns(reader, sources, queue.indices)]
    options: dict[str, Any] = {
        "title": f"{reader.survey}: review of {task}",
        "key": f"{reader.survey}/{task}/{_models_digest(find_source(sources, task))}",
        "about": queue.about,
        "why": queue.why,
        "labels": labels,
        "brief": [*(column.name for column in extra), *BRIEF],
        "file_name": f"{task}-labels.csv",
    }
    object_id = reader.object_id[queue.indices]

    def build(sprites: Sprites | None) -> str:
        return review_page(object_id, classes, columns, sprites, **options)

    write_text(path, add_sprites(build, reader, queue.indices, side=128))


def _models_digest(source: Source) -> str:
    """Return a text that differs between the networks of a survey: labels of one list are not those of another."""
    models = sorted(map(str, source[0].attributes["models"]))
    return hashlib.sha256("\n".join(models).encode()).hexdigest()[:16]
