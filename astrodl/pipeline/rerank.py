"""The verb rerank: a new order of the outliers, learnt from labels, and the next page to label."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astrodl.atomic import FilePath
from astrodl.calibration.feedback import Ranking, describe_objects, learn_ranking
from astrodl.errors import DataError
from astrodl.pipeline.catalog import BLOCK
from astrodl.pipeline.input_columns import object_identifiers
from astrodl.pipeline.labels import read_labels
from astrodl.pipeline.page_columns import Source, open_sources
from astrodl.pipeline.review import (
    N_OBJECTS,
    OUTLIER_LABELS,
    Queue,
    check_count,
    find_source,
    list_predictions,
    write_page,
)
from astrodl.pipeline.suitability import require_other_output
from astrodl.products import FITS_SUFFIXES, Column, require_suffix, stream_catalog
from astrodl.store import Reader, open_store
from astrodl.tasks.inputs import scale_free_features

__all__ = ["choose_next", "learn", "read_score", "rerank"]

_EVERY = 5
"""One object of so many on the next page is shown because it is the least sure, not because of its rank."""
_NOT_PARTS = (
    "outliers_percentile", "outliers_artefact",
    "outliers_critic", "outliers_code", "outliers_code_density",  # weak alone: few labels learn less with them
)  # fmt: skip


def rerank(
    results: FilePath,
    labels: FilePath,
    *,
    n_objects: int = N_OBJECTS,
    out: FilePath | None = None,
    page: FilePath | None = None,
) -> Path:
    """Order the outliers of a survey anew from labels of the review page, and write the next page.

    `astrodl.calibration.feedback` learns from the labels, in the space of the measured features, the latent vectors
    where the survey has the task latent, and the parts of the outlier score where there are several.

    Parameters
    ----------
    results : path
        Folder of a survey's results.
    labels : path
        CSV file that the review page saved, with the columns object_id and label.
    n_objects : int
        Most objects on the next page. Every fifth is one whose interest is least sure, the others have the highest new
        score; objects with a label are left out.
    out : path, optional
        Table to write (FITS) with `object_id`, `rank`, `interest`, `interest_error`, `label` and `outliers_score`; by
        default `reranked.fits` in the folder `outliers`.
    page : path, optional
        Page to write; by default `reranked.html` in the folder `outliers`.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    DataError
        The file of the labels is not one, or is not of this survey.
    StoreError
        There are no predictions of the task outliers, or they are of another store.
    ConfigError
        `n_objects` is out of range, or an output is an input.

    Examples
    --------
    >>> astrodl.rerank("results/demo", "outliers-labels.csv")  # doctest: +SKIP
    """
    check_count(n_objects)
    results = Path(results)
    table = results / "outliers" / "reranked.fits" if out is None else Path(out)
    html = results / "outliers" / "reranked.html" if page is None else Path(page)
    files = (results / "store.h5", *list_predictions(results, "outliers"), labels)
    for output in (table, html):
        require_other_output(output, *files)
    require_other_output(html, table)
    require_suffix(table, FITS_SUFFIXES)
    with open_store(results / "store.h5") as reader:
        sources = open_sources(reader, list_predictions(results, "outliers"))
        names = reader.object_id
        given = read_labels(labels, names.tolist(), OUTLIER_LABELS)
        label = np.array([given.get(name, "") for name in names.tolist()], f"U{max(map(len, OUTLIER_LABELS))}")
        score = read_score(find_source(sources, "outliers"))
        ranking = learn(reader, sources, score, label)
        _write_table(table, reader, ranking, score, label)
        queue = choose_next(ranking, label, n_objects)
        extra = [
            Column("interest", ranking.score[queue.indices], None, "expected interest, learnt from the labels"),
            Column("interest_error", ranking.error[queue.indices], None, "its standard error, 1 far from all labels"),
        ]
        write_page(html, reader, sources, queue, OUTLIER_LABELS, task="outliers", labels=given, extra=extra)
    return table


def read_score(source: Source) -> NDArray[np.float64]:
    """Read the outlier score; NaN for objects without data."""
    score = np.array(source[0].read(maps=False)["score"], np.float64)
    score[source[0].empty] = np.nan
    return score


def learn(reader: Reader, sources: list[Source], score: NDArray[np.float64], label: NDArray[np.str_]) -> Ranking:
    """Learn the interest of all objects."""
    groups = [reader.features(scale_free_features(reader.feature_names))]
    for predicted, task in sources:
        if task.name == "latent":
            groups.append(predicted.read(maps=False)["latent"])
        elif task.name == "outliers":
            columns = task.columns(predicted.read(maps=False))
            parts = [
                np.asarray(column.values, np.float64)
                for column in columns
                if column.name not in _NOT_PARTS and np.asarray(column.values).dtype.kind in "fiu"
            ]
            if len(parts) > 1:  # the score alone is not a part
                groups.append(np.column_stack(parts))
    labelled = np.flatnonzero(label != "")
    if not np.isfinite(score[labelled]).any():
        raise DataError("no object with a label has an outlier score; label objects that have data")
    return learn_ranking(score, describe_objects(groups), labelled, label[labelled] == "interesting")


def choose_next(ranking: Ranking, label: NDArray[np.str_], n_objects: int) -> Queue:
    """Return the next objects to look at: of highest interest, and in between the least sure."""
    open_ones = np.flatnonzero((label == "") & np.isfinite(ranking.score))
    if not len(open_ones):
        raise DataError("all objects have a label; there is nothing left to look at")
    best = open_ones[np.argsort(-ranking.score[open_ones], kind="stable")]
    rank = {index: number for number, index in enumerate(best.tolist(), start=1)}
    n_shown = min(n_objects, len(best))
    top = best[: n_shown - n_shown // _EVERY].tolist()
    others = best[len(top) :]
    unsure = others[np.argsort(np.abs(ranking.score[others] - 0.5), kind="stable")].tolist()
    indices, why = [], []
    for number in range(1, n_shown + 1):
        is_unsure = number % _EVERY == 0
        index = unsure.pop(0) if is_unsure else top.pop(0)
        indices.append(index)
        why.append(f"{'least sure, ' if is_unsure else ''}rank {rank[index]} of the objects without a label")
    n_labels = int((label != "").sum())
    about = f"{n_shown} objects in the order learnt from {n_labels} labels; every fifth is one of the least sure."
    return Queue(np.array(indices, np.int64), why, about)


def _write_table(
    path: Path, reader: Reader, ranking: Ranking, score: NDArray[np.float64], label: NDArray[np.str_]
) -> None:
    """Write the table of all objects, in their order in the store."""
    rank = np.zeros(len(score), np.int64)
    known = np.isfinite(ranking.score)
    order = np.argsort(np.where(known, -ranking.score, np.inf), kind="stable")
    rank[order] = np.arange(1, len(score) + 1)
    header = {"SURVEY": reader.survey, "STORE": reader.fingerprint[:32]}
    with stream_catalog(path, len(reader), header, widths={"object_id": reader.identifier_width}) as table:
        for start in range(0, max(len(reader), 1), BLOCK):
            rows = slice(start, min(start + BLOCK, len(reader)))
            table.write(
                [
                    Column("object_id", object_identifiers(reader, start, rows.stop), None, "identifier", "meta.id"),
                    Column("rank", rank[rows], None, "rank of the interest, 1 the highest", "stat.rank"),
                    Column(
                        "interest", ranking.score[rows], None, "expected interest, learnt from labels", "stat.value"
                    ),
                    Column("interest_error", ranking.error[rows], None, "its standard error", "stat.error"),
                    Column("label", label[rows], None, "label that was given", "meta.code"),
                    Column("outliers_score", score[rows], None, "score that was found without labels", "stat.value"),
                ]
            )
