"""The command line: one verb per arrow of the pipeline.

Exit status: 0 done; 1 `check` found problems; 2 something the user can mend, told in one line on stderr;
130 interrupted; 143 terminated. Anything unexpected keeps its traceback.
"""

import argparse
import inspect
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from astrodl.errors import AstrodlError, ConfigError

# Modules that do the work are imported inside the verbs: `astrodl --help` must not wait for torch.


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    args = parser().parse_args(argv)
    # A SIGTERM unwinds, so that no temporary file stays behind; training installs its own handler.
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return args.run(args) or 0
    except AstrodlError as error:
        print(f"astrodl: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("astrodl: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **also: Any) -> None:
    print(f"astrodl: warning: {message}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs."""
    root = argparse.ArgumentParser(
        prog="astrodl", description="Deep learning for galaxy surveys, from FITS to catalogue."
    )
    root.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = root.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for add in (_add_simulate, _add_ingest, _add_train, _add_predict, _add_baseline, _add_evaluate, _add_catalog):
        add(verbs)
    for add in (_add_overview, _add_check, _add_schema, _add_summary):
        add(verbs)
    return root


class _Version(argparse.Action):
    """Print the version; looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **also: Any) -> None:
        import astrodl

        print(f"astrodl {astrodl.__version__}")
        parser.exit()


def _verb(verbs: Any, run: Callable[[argparse.Namespace], int | None]) -> argparse.ArgumentParser:
    """Add the verb that a function is named after; its docstring holds a summary and an example."""
    summary, _, example = inspect.cleandoc(run.__doc__ or "").partition("\n\n")
    added: argparse.ArgumentParser = verbs.add_parser(
        run.__name__.removeprefix("_"),
        help=summary[:1].lower() + summary[1:].removesuffix("."),
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(run=run)
    return added


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def _index(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


_count.__name__ = _index.__name__ = "number"  # what argparse calls them in "invalid number value: 'x'"


def _add_task(verb: argparse.ArgumentParser) -> None:
    from astrodl.tasks import NAMES

    verb.add_argument("task", metavar="TASK", choices=NAMES, help=", ".join(NAMES))
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 that `astrodl ingest` wrote")


def _add_settings(verb: argparse.ArgumentParser, what: str, *, required: bool = False) -> None:
    verb.add_argument(
        "--settings", metavar="S", required=required, help=f"{what}: JSON text, or the path of a YAML file"
    )


def _add_machine(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs (default: auto)"
    )
    _add_threads(verb)
    _add_progress(verb)


def _add_threads(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--threads", metavar="N", type=_count, help="CPU threads (default: the library's choice)")


def _add_workers(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--workers",
        metavar="N",
        type=_count,
        default=1,
        help="processes; the result does not depend on it (default: 1)",
    )
    _add_progress(verb)


def _add_progress(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--progress", action=argparse.BooleanOptionalAction, help="progress bar (default: where stderr is a terminal)"
    )


def _add_simulate(verbs: Any) -> None:
    verb = _verb(verbs, _simulate)
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the survey")
    _add_settings(verb, "keys of `simulate`")
    _add_workers(verb)


def _simulate(args: argparse.Namespace) -> None:
    """Simulate a survey with known truth: FITS images and a catalogue.

    astrodl simulate --out survey --settings '{"n_objects": 100, "size": 32}' --workers 2
    """
    from astrodl.config import SimulateSettings, parse, read_settings
    from astrodl.survey.simulate import simulate

    settings = parse(SimulateSettings, *read_settings(args.settings))
    print(simulate(settings, args.out, workers=args.workers, progress=args.progress))


def _add_ingest(verbs: Any) -> None:
    verb = _verb(verbs, _ingest)
    verb.add_argument("--out", metavar="STORE", type=Path, required=True, help="store to write (HDF5)")
    _add_settings(verb, "keys `survey`, `data` and `split`", required=True)
    verb.add_argument(
        "--simulated",
        metavar="DIR",
        type=Path,
        help="folder that `astrodl simulate` wrote; settings then hold `simulate`, not `data`",
    )
    verb.add_argument("--strict", action="store_true", help="stop at the first object that cannot be read")
    _add_workers(verb)


def _ingest(args: argparse.Namespace) -> None:
    """Read a catalogue and its images into a store.

    astrodl ingest --out store.h5 --settings survey.yaml --workers 2
    """
    from astrodl.config import IngestSettings, SimulateSettings, parse, read_settings
    from astrodl.survey.ingest import ingest
    from astrodl.survey.simulate import data_settings

    values, source = read_settings(args.settings)
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


def _add_train(verbs: Any) -> None:
    verb = _verb(verbs, _train)
    _add_task(verb)
    verb.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder of model.safetensors, history.jsonl, config.json"
    )
    _add_settings(verb, "the task's section")
    verb.add_argument("--fold", metavar="K", type=_index, default=0, help="fold held out for validation (default: 0)")
    verb.add_argument(
        "--seed", metavar="K", type=_index, default=0, help="seed of weights, order and augmentation (default: 0)"
    )
    _add_machine(verb)


def _train(args: argparse.Namespace) -> None:
    """Train the network of a task; continues where an interrupted run stopped.

    astrodl train photoz store.h5 --out models/photoz --settings '{"train": {"epochs": 5}}'
    """
    from astrodl.config import read_settings
    from astrodl.tasks import run

    run.train(
        args.task,
        args.store,
        args.out,
        settings=read_settings(args.settings)[0],
        fold=args.fold,
        seed=args.seed,
        device=args.device,
        threads=args.threads,
        progress=args.progress,
    )


def _add_predict(verbs: Any) -> None:
    verb = _verb(verbs, _predict)
    _add_task(verb)
    verb.add_argument("models", metavar="MODEL", type=Path, nargs="+", help="model.safetensors of a fold and seed")
    verb.add_argument("--out", metavar="FILE", type=Path, required=True, help="predictions to write (HDF5)")
    _add_machine(verb)


def _predict(args: argparse.Namespace) -> None:
    """Predict every object of a store, averaged over the models.

    astrodl predict photoz store.h5 models/photoz/model.safetensors --out predictions.h5
    """
    from astrodl.tasks import run

    run.predict(
        args.task, args.store, args.models, args.out, device=args.device, threads=args.threads, progress=args.progress
    )


def _add_baseline(verbs: Any) -> None:
    verb = _verb(verbs, _baseline)
    _add_task(verb)
    verb.add_argument("--out", metavar="FILE", type=Path, required=True, help="metrics of the baselines (JSON)")
    _add_settings(verb, "the task's section")
    _add_threads(verb)


def _baseline(args: argparse.Namespace) -> None:
    """Train and apply the classical rivals of a task on the same split.

    astrodl baseline photoz store.h5 --out baseline.json
    """
    from astrodl.config import read_settings
    from astrodl.tasks.evaluate import baseline

    baseline(args.task, args.store, args.out, settings=read_settings(args.settings)[0], threads=args.threads)


def _add_evaluate(verbs: Any) -> None:
    verb = _verb(verbs, _evaluate)
    _add_task(verb)
    verb.add_argument(
        "predictions", metavar="PREDICTIONS", type=Path, help="predictions.h5 that `astrodl predict` wrote"
    )
    verb.add_argument("--baseline", metavar="FILE", type=Path, help="baseline.json to stand beside the network")
    verb.add_argument("--out", metavar="FILE", type=Path, required=True, help="metrics to write (JSON)")
    verb.add_argument("--figures", metavar="DIR", type=Path, help="folder of the figures (PNG)")
    verb.add_argument(
        "--history", metavar="FILE", type=Path, nargs="+", default=[], help="history.jsonl of the trainings"
    )
    _add_settings(verb, "the task's section")


def _evaluate(args: argparse.Namespace) -> None:
    """Measure predictions on the test split beside the baselines, and draw the figures.

    astrodl evaluate photoz store.h5 predictions.h5 --baseline baseline.json --out metrics.json --figures figures
    """
    from astrodl.config import read_settings
    from astrodl.tasks.evaluate import evaluate

    evaluate(
        args.task,
        args.store,
        args.predictions,
        args.baseline,
        args.out,
        figures=args.figures,
        history=args.history,
        settings=read_settings(args.settings)[0],
    )


def _add_catalog(verbs: Any) -> None:
    verb = _verb(verbs, _catalog)
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 that `astrodl ingest` wrote")
    verb.add_argument("predictions", metavar="PREDICTIONS", type=Path, nargs="+", help="predictions.h5 of a task")
    verb.add_argument("--out", metavar="FILE", type=Path, required=True, help="catalogue to write (FITS)")
    verb.add_argument("--pdfs", metavar="FILE", type=Path, help="redshift PDFs to write (HDF5 that `qp.read` opens)")


def _catalog(args: argparse.Namespace) -> None:
    """Join the predictions of all tasks into one FITS catalogue.

    astrodl catalog store.h5 photoz.h5 morphology.h5 --out catalog.fits --pdfs photoz_pdf.hdf5
    """
    from astrodl.tasks.join import catalog

    catalog(args.store, args.predictions, args.out, pdfs=args.pdfs)


def _add_overview(verbs: Any) -> None:
    verb = _verb(verbs, _overview)
    verb.add_argument("store", metavar="STORE", type=Path, help="store.h5 that `astrodl ingest` wrote")
    verb.add_argument("metrics", metavar="METRICS", type=Path, nargs="*", help="metrics.json of the tasks")
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the figures (PNG)")


def _overview(args: argparse.Namespace) -> None:
    """Draw the survey at a glance: objects, splits, all metrics beside the baselines.

    astrodl overview store.h5 photoz/metrics.json --out figures
    """
    from astrodl.overview import overview

    overview(args.store, args.metrics, args.out)


def _add_check(verbs: Any) -> None:
    verb = _verb(verbs, _check)
    verb.add_argument(
        "files",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="store, model, predictions, metrics, catalogue, YAML configuration",
    )


def _check(args: argparse.Namespace) -> int:
    """Check stores, models, predictions, catalogues and configurations; exit 1 where there are problems.

    astrodl check config/config.yaml results/demo/store.h5
    """
    from astrodl.check import problems

    found = {path: problems(path) for path in args.files}
    for path, lines in found.items():
        print("\n".join(lines) if lines else f"{path}: ok")
    return int(any(found.values()))


def _add_schema(verbs: Any) -> None:
    verb = _verb(verbs, _schema)
    verb.add_argument("--out", metavar="FILE", type=Path, help="file to write (default: standard output)")


def _schema(args: argparse.Namespace) -> None:
    """Write the JSON schema of the configuration.

    astrodl schema --out workflow/schemas/config.schema.json
    """
    from astrodl.schema import json_schema

    text = json.dumps(json_schema(), indent=2) + "\n"
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.write_text(text, encoding="utf-8")


def _add_summary(verbs: Any) -> None:
    verb = _verb(verbs, _summary)
    verb.add_argument("folder", metavar="FOLDER", type=Path, help="results of a survey")


def _summary(args: argparse.Namespace) -> None:
    """Print the headline metric of every task beside its baselines, and where the results are.

    astrodl summary results/demo
    """
    from astrodl.summary import summary

    print(summary(args.folder))
