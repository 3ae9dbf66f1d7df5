"""Verbs for data: simulate, init, shard, ingest, inspect."""

import argparse
from pathlib import Path
from typing import Any

import astrodl
from astrodl.cli.arguments import add_verb, add_workers, count
from astrodl.cli.settings import add_settings, add_survey, read_simulation, read_survey
from astrodl.errors import ConfigError

__all__ = ["VERBS"]


def add_simulate(verbs: Any) -> None:
    """Add `simulate`."""
    verb = add_verb(verbs, _simulate)
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the survey")
    add_settings(verb, "keys of `simulate`")
    add_survey(verb)
    add_workers(verb)


def _simulate(args: argparse.Namespace) -> None:
    """Simulate a survey with known truth: FITS images and a catalogue.

    astrodl simulate --out survey --settings '{"n_objects": 100, "size": 32}' --workers 2
    """
    print(astrodl.simulate(read_simulation(args), args.out, workers=args.workers, progress=args.progress))


def add_init(verbs: Any) -> None:
    """Add `init`."""
    verb = add_verb(verbs, _init)
    verb.add_argument("--catalog", metavar="FILE", type=Path, required=True, help="table with a row per object")
    verb.add_argument(
        "--images",
        metavar="TEMPLATE",
        nargs="+",
        default=[],
        help="path of the images with {column} or {id}, and {band}; several: one per band; none: look beside the table",
    )
    verb.add_argument(
        "--out", metavar="FILE", type=Path, default=Path("survey.yaml"), help="YAML to write (survey.yaml)"
    )
    verb.add_argument("--name", metavar="NAME", help="name of the survey (default: that of its folder)")
    verb.add_argument("--force", action="store_true", help="overwrite the YAML file")


def _init(args: argparse.Namespace) -> None:
    """Examine a catalogue and a few images, describe them, and draft a configuration.

    astrodl init --catalog cat.fits --images 'cutouts/{id}.fits' --out survey.yaml
    """
    print(astrodl.init(args.catalog, args.images, args.out, name=args.name, force=args.force))


def add_shard(verbs: Any) -> None:
    """Add `shard`."""
    verb = add_verb(verbs, _shard)
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the shards")
    verb.add_argument("--shards", metavar="N", type=count, help="number of shards (default: the key `shards`)")
    _add_source(verb)


def _shard(args: argparse.Namespace) -> None:
    """Divide a large survey into shards of the sky, which are ingested and predicted separately.

    astrodl shard --out shards --settings survey.yaml --shards 100
    """
    settings, n_shards = read_survey(args)
    number = n_shards if args.shards is None else args.shards
    if not isinstance(number, int) or number < 1:
        raise ConfigError(
            f"shards = {number!r}: must be a number from 1; give --shards N or the key `shards` of the survey"
        )
    astrodl.shard(settings, args.out, number)
    print(args.out / "shards.json")


def add_ingest(verbs: Any) -> None:
    """Add `ingest`."""
    verb = add_verb(verbs, _ingest)
    verb.add_argument("--out", metavar="STORE", type=Path, required=True, help="store to write (HDF5)")
    _add_source(verb)
    verb.add_argument(
        "--shard",
        metavar="FILE",
        type=Path,
        help="objects.fits or sample.fits that `astrodl shard` wrote: ingest these objects alone",
    )
    verb.add_argument("--strict", action="store_true", help="stop at the first object that cannot be read")
    add_workers(verb)


def _ingest(args: argparse.Namespace) -> None:
    """Read a catalogue and its images into a store.

    astrodl ingest --out store.h5 --settings survey.yaml --workers 2
    """
    settings, _ = read_survey(args)
    astrodl.ingest(
        settings, args.out, shard=args.shard, workers=args.workers, strict=args.strict, progress=args.progress
    )
    print(args.out)


def _add_source(verb: argparse.ArgumentParser) -> None:
    """Add the options that say which survey."""
    add_settings(verb, "keys `survey`, `data` and `split`", required=True)
    add_survey(verb)
    verb.add_argument(
        "--simulated",
        metavar="DIR",
        type=Path,
        help="folder that `astrodl simulate` wrote; settings then hold `simulate`, not `data`",
    )


def add_inspect(verbs: Any) -> None:
    """Add `inspect`."""
    verb = add_verb(verbs, _inspect)
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 that `astrodl ingest` wrote")
    verb.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="contact sheet to draw (PNG; default: beside the store)",
    )


def _inspect(args: argparse.Namespace) -> None:
    """Describe a store (bands, depths, splits, labels, flags) and draw a contact sheet.

    astrodl inspect results/demo/store.h5 --out sheet.png
    """
    out = args.out or args.store.with_name(f"{args.store.stem}_sheet.png")
    print(astrodl.inspect(args.store, out))
    with astrodl.open_store(args.store) as store:
        is_drawn = store.has_images
    if is_drawn:
        print(f"contact sheet: {out}")


VERBS = (add_simulate, add_init, add_shard, add_ingest, add_inspect)
