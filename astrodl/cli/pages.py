"""Verbs of the HTML pages: map, review, rerank."""

import argparse
from pathlib import Path
from typing import Any

import astrodl
from astrodl.cli.arguments import add_verb, count

__all__ = ["VERBS"]


def add_map(verbs: Any) -> None:
    """Add `map`."""
    verb = add_verb(verbs, _map)
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 that `astrodl ingest` wrote")
    verb.add_argument(
        "predictions",
        metavar="PREDICTIONS",
        type=Path,
        nargs="+",
        help="predictions.h5 of the task latent, and of others to colour by",
    )
    verb.add_argument("--out", metavar="FILE", type=Path, required=True, help="page to write (HTML)")
    verb.add_argument(
        "--objects",
        metavar="N",
        type=count,
        default=5000,
        help="most objects; of more, a random sample is shown (default: 5000)",
    )


def _map(args: argparse.Namespace) -> None:
    """Write the latent map of a survey as one HTML page: hover, colour, lasso, nearest neighbours.

    astrodl map store.h5 latent.h5 photoz.h5 morphology.h5 --out map.html
    """
    print(astrodl.map(args.store, args.predictions, args.out, n_objects=args.objects))


def add_review(verbs: Any) -> None:
    """Add `review`."""
    verb = add_verb(verbs, _review)
    _add_results(verb)
    verb.add_argument(
        "--task",
        metavar="TASK",
        choices=("outliers", "morphology"),
        default="outliers",
        help="outliers (default): highest score first; morphology: least certain first",
    )
    verb.add_argument("--out", metavar="FILE", type=Path, help="page to write (default: RESULTS/TASK/review.html)")


def _review(args: argparse.Namespace) -> None:
    """Write one HTML page on which outliers or classes are labelled by a key, without server or network.

    astrodl review results/demo --top 100
    """
    print(astrodl.review(args.results, task=args.task, n_objects=args.top, out=args.out))


def add_rerank(verbs: Any) -> None:
    """Add `rerank`."""
    verb = add_verb(verbs, _rerank)
    _add_results(verb)
    verb.add_argument("labels", metavar="LABELS", type=Path, help="CSV file that the review page saved")
    verb.add_argument(
        "--out", metavar="FILE", type=Path, help="table to write (FITS; default: RESULTS/outliers/reranked.fits)"
    )
    verb.add_argument("--page", metavar="FILE", type=Path, help="next page (default: RESULTS/outliers/reranked.html)")


def _rerank(args: argparse.Namespace) -> None:
    """Order the outliers anew from the labels of the review page, and write the next page.

    astrodl rerank results/demo outliers-labels.csv
    """
    print(astrodl.rerank(args.results, args.labels, n_objects=args.top, out=args.out, page=args.page))


def _add_results(verb: argparse.ArgumentParser) -> None:
    """Add the options of review and rerank."""
    verb.add_argument("results", metavar="RESULTS", type=Path, help="results of a survey")
    verb.add_argument("--top", metavar="N", type=count, default=200, help="most objects on the page (default: 200)")


VERBS = (add_map, add_review, add_rerank)
