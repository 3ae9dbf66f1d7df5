"""Verbs that make data: simulate, init, ingest, inspect."""

import argparse
from pathlib import Path
from typing import Any

from astrodl.cli.arguments import add_settings, add_verb, add_workers
from astrodl.errors import ConfigError


def add_simulate(verbs: Any) -> None:
    """Add `simulate`."""
    verb = add_verb(verbs, _simulate)
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the survey")
    add_settings(verb, "keys of `simulate`")
    add_workers(verb)


def _simulate(args: argparse.Namespace) -> None:
    """Simulate a survey with known truth: FITS images and a catalogue.

    astrodl simulate --out survey --settings '{"n_objects": 100, "size": 32}' --workers 2
    """
    from astrodl.config import SimulateSettings, parse, read_settings
    from astrodl.survey.simulate import simulate

    settings = parse(SimulateSettings, *read_settings(args.settings))
    print(simulate(settings, args.out, workers=args.workers, progress=args.progress))


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
    """Look at a catalogue and a few images, say what they hold, and draft a configuration.

    astrodl init --catalog cat.fits --images 'cutouts/{id}.fits' --out survey.yaml
    """
    from astrodl.discover import init

    print(init(args.catalog, args.images, args.out, name=args.name, force=args.force))


def add_ingest(verbs: Any) -> None:
    """Add `ingest`."""
    verb = add_verb(verbs, _ingest)
    verb.add_argument("--out", metavar="STORE", type=Path, required=True, help="store to write (HDF5)")
    add_settings(verb, "keys `survey`, `data` and `split`, or a whole configuration", required=True)
    verb.add_argument("--survey", metavar="NAME", help="which survey of a configuration that has several")
    verb.add_argument(
        "--simulated",
        metavar="DIR",
        type=Path,
        help="folder that `astrodl simulate` wrote; settings then hold `simulate`, not `data`",
    )
    verb.add_argument("--strict", action="store_true", help="stop at the first object that cannot be read")
    add_workers(verb)


def _ingest(args: argparse.Namespace) -> None:
    """Read a catalogue and its images into a store.

    astrodl ingest --out store.h5 --settings survey.yaml --workers 2
    """
    from astrodl.config import IngestSettings, SimulateSettings, parse, read_settings
    from astrodl.survey.ingest import ingest
    from astrodl.survey.simulate import data_settings

    values, source = read_settings(args.settings)
    values = _one_survey(values, source, args.survey)
    if args.simulated is not None:
        if "data" in values:
            raise ConfigError(
                f"{source}: key 'data' does not go with --simulated; give `simulate` instead, or leave --simulated out"
            )
        simulated = parse(SimulateSettings, values.pop("simulate", {}), source)
        values["data"] = data_settings(simulated, args.simulated).model_dump()
    settings = parse(IngestSettings, values, source)
    ingest(settings, args.out, workers=args.workers, strict=args.strict, progress=args.progress)
    print(args.out)


def _one_survey(values: dict[str, Any], source: str, name: str | None) -> dict[str, Any]:
    """Pick a survey out of a whole configuration; settings of a single survey stay as they are."""
    surveys = values.get("surveys")
    if not isinstance(surveys, dict):
        return values
    if name is None and len(surveys) == 1:
        (name,) = surveys
    if name not in surveys:
        asked = "several surveys" if name is None else f"no survey '{name}'"
        raise ConfigError(f"{source}: holds {asked} (has {', '.join(map(str, surveys))}); choose one with --survey")
    chosen = surveys[name] if isinstance(surveys[name], dict) else {}
    return {"survey": name} | {key: value for key, value in chosen.items() if key in ("data", "simulate", "split")}


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
    """Say what a store holds: bands, depths, splits, labels, what is missing; and draw a contact sheet.

    astrodl inspect results/demo/store.h5 --out sheet.png
    """
    from astrodl.contents import contact, contents

    out = args.out or args.store.with_name(f"{args.store.stem}_sheet.png")
    print(contents(args.store))
    contact(args.store, out)
    print(f"contact sheet: {out}")


VERBS = (add_simulate, add_init, add_ingest, add_inspect)
