"""Processor seconds that attribution methods take for 100 images; `--record` writes the table into docs/explain.md.

python explanation_cost.py STORE MODEL... --record
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import copy_to_docs
import study
import torch

from astrodl import load_model, open_store
from astrodl.atomic import write_text
from astrodl.explanation.methods import METHODS, Options, allowed, attribute
from astrodl.pipeline.explain import find_objects
from astrodl.tasks.explained import find_quantity, n_orientations, prepare_inputs

DOCS = Path(__file__).parents[2] / "docs"


def measure(path: Path, store: Path, n_objects: int) -> tuple[str, dict[str, float]]:
    """Return the task's name with its number, and the seconds for 100 images and one draw by each method."""
    model = load_model(path, device="cpu")
    explained, options, seconds = find_quantity(model), Options(draws=1), {}
    with open_store(store) as reader:
        rows = find_objects(model, reader, None, n_objects)
        inputs = prepare_inputs(model, model.task.read(reader, rows))
    attribute(explained, inputs, "gradient", options=options)  # imports
    for method in allowed(explained):
        start = time.process_time()
        attribute(explained, inputs, method, options=options, orientations=n_orientations(model.task))
        seconds[method] = 100 * (time.process_time() - start) / len(rows)
    return f"{model.task.name}, {explained.quantity.name}", seconds


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--objects", type=int, default=16)
    parser.add_argument("--record", action="store_true", help="copy the table into docs/explain.md")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    found = dict(measure(path, args.store, args.objects) for path in args.models)
    rows = [
        [method.title, *(f"{seconds[name]:.1f}" if name in seconds else "refused" for seconds in found.values())]
        for name, method in METHODS.items()
    ]
    text = study.table(["method", *found], rows) + f"\n\nOne thread, one draw, measured on {args.objects} images."
    study.PAGES.mkdir(exist_ok=True)
    write_text(study.PAGES / "explain-cost.md", text + "\n")
    print(text)
    if args.record:
        copy_to_docs.main(str(DOCS), "explain.md=explain-cost")


if __name__ == "__main__":
    main()
