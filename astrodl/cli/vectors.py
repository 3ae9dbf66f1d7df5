"""Verbs of vectors: embed, similar."""

import argparse
from pathlib import Path
from typing import Any

import astrodl
from astrodl.cli.arguments import add_machine, add_verb, count

__all__ = ["VERBS"]


def add_embed(verbs: Any) -> None:
    """Add `embed`."""
    verb = add_verb(verbs, _embed)
    verb.add_argument("models", metavar="MODEL", type=Path, nargs="+", help="model.safetensors of any task")
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 that `astrodl ingest` wrote")
    verb.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="vectors to write (.fits, or .parquet with pyarrow)"
    )
    verb.add_argument(
        "--force", action="store_true", help="embed images in another unit, also where a task refuses them"
    )
    add_machine(verb)


def _embed(args: argparse.Namespace) -> None:
    """Compute the vector of every object of a store before the head of trained networks.

    astrodl embed morphology/model.safetensors store.h5 --out vectors.fits
    """
    astrodl.embed(
        args.models, args.store, args.out, device=args.device, threads=args.threads, progress=args.progress,
        force=args.force,
    )  # fmt: skip


def add_similar(verbs: Any) -> None:
    """Add `similar`."""
    verb = add_verb(verbs, _similar)
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 that was embedded")
    verb.add_argument("vectors", metavar="VECTORS", type=Path, help="vectors that `astrodl embed` wrote")
    verb.add_argument("object_id", metavar="ID", nargs="+", help="identifier of an object to compare with")
    verb.add_argument("-k", metavar="N", type=count, default=20, help="neighbours of each object (default: 20)")
    verb.add_argument(
        "--metric",
        choices=("standardized", "whitened", "euclidean"),
        default="standardized",
        help="each dimension in units of its standard deviation; principal components in theirs (Mahalanobis); or "
        "vectors as they are (default: standardized)",
    )
    verb.add_argument("--out", metavar="FILE", type=Path, help="table to write (.csv or .ecsv)")
    verb.add_argument("--sheet", metavar="FILE", type=Path, help="contact sheet to draw (PNG)")


def _similar(args: argparse.Namespace) -> None:
    """Find the objects whose vectors are nearest to those of given objects.

    astrodl similar store.h5 vectors.fits G00042 -k 20 --sheet sheet.png
    """
    table = astrodl.similar(
        args.store, args.vectors, args.object_id, k=args.k, metric=args.metric, out=args.out, sheet=args.sheet
    )
    print("\n".join(table["query", "rank", "object_id", "distance"].pformat(max_lines=-1, max_width=-1)))


VERBS = (add_embed, add_similar)
