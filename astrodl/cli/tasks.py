"""Verbs of the tasks: train, predict, baseline, evaluate, explain, catalog, product, segment, inject, hats."""

import argparse
from pathlib import Path
from typing import Any

import astrodl
from astrodl.cli.arguments import add_machine, add_task, add_threads, add_verb, count, index
from astrodl.cli.settings import add_settings, read_task
from astrodl.errors import ConfigError

__all__ = ["VERBS"]


def add_train(verbs: Any) -> None:
    """Add `train`."""
    verb = add_verb(verbs, _train)
    add_task(verb)
    verb.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder of model.safetensors, history.jsonl, config.json"
    )
    add_settings(verb, "the task's section")
    verb.add_argument("--fold", metavar="K", type=index, default=0, help="fold held out for validation (default: 0)")
    verb.add_argument(
        "--seed", metavar="K", type=index, default=0, help="seed of weights, order and augmentation (default: 0)"
    )
    verb.add_argument(
        "--processes",
        metavar="N",
        type=index,
        default=1,
        help="train in so many processes on this machine, one per GPU, among which each batch is divided (default: 1)",
    )
    verb.add_argument("--force", action="store_true", help="replace a model of other settings or data in DIR")
    add_machine(verb)


def _train(args: argparse.Namespace) -> int | None:
    """Train the network of a task; continues where an interrupted run stopped.

    astrodl train photoz store.h5 --out models/photoz --settings '{"train": {"epochs": 5}}'
    """
    from astrodl import distributed

    if args.processes > 1 and distributed.read_launcher() is None:
        return distributed.launch(args.processes, args.command)

    astrodl.train(
        args.task,
        args.store,
        args.out,
        settings=read_task(args),
        fold=args.fold,
        seed=args.seed,
        device=args.device,
        threads=args.threads,
        progress=args.progress,
        force=args.force,
    )
    return None


def add_predict(verbs: Any) -> None:
    """Add `predict`."""
    verb = add_verb(verbs, _predict)
    add_task(verb)
    verb.add_argument("models", metavar="MODEL", type=Path, nargs="+", help="model.safetensors of a fold and seed")
    verb.add_argument("--out", metavar="FILE", type=Path, required=True, help="predictions to write (HDF5)")
    verb.add_argument(
        "--force", action="store_true", help="predict images in another unit, also where a task refuses them"
    )
    add_machine(verb)


def _predict(args: argparse.Namespace) -> None:
    """Predict every object of a store, averaged over the models.

    astrodl predict photoz store.h5 models/photoz/model.safetensors --out predictions.h5
    """
    astrodl.predict(
        args.task, args.store, args.models, args.out, device=args.device, threads=args.threads,
        progress=args.progress, force=args.force,
    )  # fmt: skip


def add_baseline(verbs: Any) -> None:
    """Add `baseline`."""
    verb = add_verb(verbs, _baseline)
    add_task(verb)
    verb.add_argument("--out", metavar="FILE", type=Path, required=True, help="metrics of the baselines (JSON)")
    verb.add_argument(
        "--train-store",
        metavar="OTHER",
        type=Path,
        help="fit on the training split of this store, of the survey whose networks predict STORE",
    )
    add_settings(verb, "the task's section")
    add_threads(verb)


def _baseline(args: argparse.Namespace) -> None:
    """Fit and score the classical baselines of a task on the same split.

    astrodl baseline photoz store.h5 --out baseline.json
    """
    astrodl.baseline(
        args.task,
        args.store,
        args.out,
        train_store=args.train_store,
        settings=read_task(args),
        threads=args.threads,
    )


def add_evaluate(verbs: Any) -> None:
    """Add `evaluate`."""
    verb = add_verb(verbs, _evaluate)
    add_task(verb)
    verb.add_argument(
        "predictions", metavar="PREDICTIONS", type=Path, help="predictions.h5 that `astrodl predict` wrote"
    )
    verb.add_argument("--baseline", metavar="FILE", type=Path, help="baseline.json of the same store")
    verb.add_argument("--out", metavar="FILE", type=Path, required=True, help="metrics to write (JSON)")
    verb.add_argument("--figures", metavar="DIR", type=Path, help="folder of the figures (PNG)")
    verb.add_argument(
        "--history", metavar="FILE", type=Path, nargs="+", default=[], help="history.jsonl of the trainings"
    )
    verb.add_argument(
        "--models", metavar="FILE", type=Path, nargs="+", default=[],
        help="models that made the predictions, for figures of what they draw",
    )  # fmt: skip
    add_settings(verb, "the task's section")


def _evaluate(args: argparse.Namespace) -> None:
    """Score predictions on the test split beside the baselines, and draw the figures.

    astrodl evaluate photoz store.h5 predictions.h5 --baseline baseline.json --out metrics.json --figures figures
    """
    astrodl.evaluate(
        args.task,
        args.store,
        args.predictions,
        args.baseline,
        args.out,
        figures=args.figures,
        history=args.history,
        models=args.models,
        settings=read_task(args),
    )


def add_explain(verbs: Any) -> None:
    """Add `explain`."""
    verb = add_verb(verbs, _explain)
    verb.add_argument("model", metavar="MODEL", type=Path, help="model.safetensors of a fold and seed")
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 that `astrodl ingest` wrote")
    verb.add_argument("--method", metavar="NAME", help="attribution method (default: the best one of the task)")
    verb.add_argument("--target", metavar="NAME", help="predicted number (default: the first one of the task)")
    verb.add_argument("--ids", metavar="ID", nargs="+", help="objects (default: some test objects)")
    verb.add_argument(
        "--draws", metavar="N", type=count, help="noise images as baselines (default: 4; 1 with --shares)"
    )
    verb.add_argument(
        "--steps", metavar="N", type=count, default=64, help="steps of integrated gradients (default: 64)"
    )
    verb.add_argument("--seed", metavar="K", type=index, default=0, help="seed of the noise (default: 0)")
    made = verb.add_mutually_exclusive_group(required=True)
    made.add_argument("--out", metavar="DIR", type=Path, help="folder of maps, shares and sheet")
    made.add_argument(
        "--shares",
        metavar="FILE",
        type=Path,
        help="only write the shares of bands and annuli of all objects to this FITS table, for `astrodl catalog`",
    )
    verb.add_argument(
        "--units", action="store_true", help="also draw what the units of the network look for, in a minute or two"
    )
    verb.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs (default: auto)"
    )
    add_threads(verb)


def _explain(args: argparse.Namespace) -> None:
    """Attribute a prediction to the pixels of each band, and test whether the maps depend on the network.

    astrodl explain models/photoz/model.safetensors store.h5 --target z_mean --out explanation
    """
    from astrodl.device import choose_device

    choose_device(args.device, args.threads)
    if args.shares is not None:
        _write_shares(args)
        return
    astrodl.explain(
        args.model, args.store, args.out, method=args.method, target=args.target, ids=args.ids,
        draws=args.draws or 4, steps=args.steps, seed=args.seed, device=args.device,
    )  # fmt: skip
    if args.units:
        from astrodl.pipeline.units import draw_units

        draw_units(args.model, args.store, args.out, device=args.device)


def _write_shares(args: argparse.Namespace) -> None:
    from astrodl.pipeline.shares import write_shares

    if args.ids or args.units:
        raise ConfigError("--shares: is of all objects, without figures; leave out --ids and --units, or give --out")
    write_shares(
        args.model, args.store, args.shares, method=args.method or "input_x_gradient", target=args.target,
        draws=args.draws or 1, steps=args.steps, seed=args.seed, device=args.device,
    )  # fmt: skip


def add_catalog(verbs: Any) -> None:
    """Add `catalog`."""
    verb = add_verb(verbs, _catalog)
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 that `astrodl ingest` wrote")
    verb.add_argument("predictions", metavar="PREDICTIONS", type=Path, nargs="+", help="predictions.h5 of a task")
    verb.add_argument(
        "--shares", metavar="TABLE", type=Path, nargs="+", default=(), help="tables of `astrodl explain --shares`"
    )
    verb.add_argument("--out", metavar="FILE", type=Path, required=True, help="catalogue to write (FITS)")


def _catalog(args: argparse.Namespace) -> None:
    """Join the predictions of all tasks into one FITS catalogue.

    astrodl catalog store.h5 photoz.h5 morphology.h5 --out catalog.fits
    """
    astrodl.catalog(args.store, args.predictions, args.out, shares=args.shares)


def add_product(verbs: Any) -> None:
    """Add `product`."""
    verb = add_verb(verbs, _product)
    add_task(verb)
    verb.add_argument(
        "predictions", metavar="PREDICTIONS", type=Path, help="predictions.h5 that `astrodl predict` wrote"
    )
    verb.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        required=True,
        help="file to write, named like the product (photoz_pdf.hdf5)",
    )


def _product(args: argparse.Namespace) -> None:
    """Write a product of a task that has a file of its own, such as the redshift PDFs.

    astrodl product photoz store.h5 predictions.h5 --out photoz_pdf.hdf5
    """
    astrodl.product(args.task, args.store, args.predictions, args.out)


def add_segment(verbs: Any) -> None:
    """Add `segment`."""
    verb = add_verb(verbs, _segment)
    verb.add_argument("model", metavar="MODEL", type=Path, help="model.safetensors of the task segmentation")
    verb.add_argument(
        "images",
        metavar="IMAGE",
        type=Path,
        nargs="+",
        help="FITS: one per band in the order of the network, or one with an extension per band or a cube",
    )
    verb.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="maps and table of clumps to write (FITS)"
    )
    verb.add_argument("--psf", metavar="FILE", type=Path, help="cube of the point-spread functions (FITS)")
    verb.add_argument("--tile", metavar="N", type=count, help="side of a tile in pixels (default: 1024)")
    add_machine(verb)


def _segment(args: argparse.Namespace) -> None:
    """Find clumps and divide the light among bulge, disk and clumps in images of any size.

    astrodl segment model.safetensors g.fits r.fits i.fits --out segments.fits
    """
    from astrodl.pipeline.segment import TILE, read_psf

    psf = None if args.psf is None else read_psf(args.psf)
    astrodl.segment(
        args.model, args.images, args.out, psf=psf, tile=args.tile or TILE, device=args.device, threads=args.threads,
        progress=args.progress,
    )  # fmt: skip


def add_inject(verbs: Any) -> None:
    """Add `inject`."""
    verb = add_verb(verbs, _inject)
    verb.add_argument("model", metavar="MODEL", type=Path, help="model.safetensors of the task segmentation")
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 of any survey with the bands of the model")
    verb.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="table of injected clumps to write (FITS)"
    )
    verb.add_argument("--split", metavar="SPLIT", default="test", help="galaxies: test (default), train, ..., or all")
    verb.add_argument("--n", metavar="N", type=count, default=2000, help="most galaxies (default: 2000)")
    verb.add_argument(
        "--colour", choices=("young", "galaxy"), default="young",
        help="equal flux density in all bands (default), or the colours of the galaxy",
    )  # fmt: skip
    verb.add_argument("--seed", metavar="N", type=int, default=0, help="seed of positions and fluxes (default: 0)")
    add_threads(verb)
    verb.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs (default: auto)"
    )


def _inject(args: argparse.Namespace) -> None:
    """Measure the completeness of clumps on a survey, real or simulated, with injected clumps of known flux.

    astrodl inject model.safetensors store.h5 --out injected.fits
    """
    astrodl.inject(
        args.model,
        args.store,
        args.out,
        split=args.split,
        n=args.n,
        colour=args.colour,
        seed=args.seed,
        device=args.device,
    )


def add_hats(verbs: Any) -> None:
    """Add `hats`."""
    verb = add_verb(verbs, _hats)
    verb.add_argument(
        "catalogs", metavar="CATALOG", type=Path, nargs="+", help="catalog.fits of a survey, or of each of its shards"
    )
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write")
    verb.add_argument("--name", metavar="NAME", default="astrodl", help="name of the catalogue (default: astrodl)")
    verb.add_argument("--rows", metavar="N", type=count, help="most rows of a partition (default: 1,000,000)")


def _hats(args: argparse.Namespace) -> None:
    """Merge catalogues into one HATS catalogue (Parquet by HEALPix) that hats and lsdb open.

    astrodl hats shards/0000/catalog.fits shards/0001/catalog.fits --out hats --name survey
    """
    from astrodl.products.hats import MAX_ROWS, write_hats

    builder = f"astrodl {astrodl.__version__}"
    write_hats(args.catalogs, args.out, name=args.name, max_rows=args.rows or MAX_ROWS, builder=builder)
    print(args.out)


VERBS = (
    add_train, add_predict, add_baseline, add_evaluate, add_explain, add_catalog, add_product, add_segment, add_inject,
    add_hats,
)  # fmt: skip
