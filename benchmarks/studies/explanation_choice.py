"""Defaults by the trials on validation objects; `--record` writes the table into docs/explain.md.

python explanation_choice.py --record    # after explanation.py ... --split validation
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import copy_to_docs
import numpy as np
import study
from explanation import score

from astrodl.atomic import write_text
from astrodl.explanation.methods import METHODS

DOCS = Path(__file__).parents[2] / "docs"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="copy the table into docs/explain.md")
    args = parser.parse_args(words)
    lines = []
    for path in sorted(study.PAGES.glob("explain-*-validation.json")):
        trial = study.read_json(path)
        task = path.stem.removeprefix("explain-").split("-")[0]
        scores = {
            method: score(method, row, trial["target"])
            for method, row in trial["table"].items()
            if row["n_objects"][0] == trial["n_objects"]  # scores on other objects do not compare
        }
        order = sorted((method for method in scores if np.isfinite(scores[method])), key=lambda m: -scores[m])
        ranked = [f"{METHODS[method].title} {scores[method]:.2f}" for method in order[:4]]
        lines.append([f"{task}, {trial['target']}", ", ".join(ranked), str(trial["n_objects"])])
    text = study.table(["number", "methods by score, the best first", "validation objects"], lines)
    write_text(study.PAGES / "explain-choice.md", text + "\n")
    print(text)
    if args.record:
        copy_to_docs.main(str(DOCS), "explain.md=explain-choice")


if __name__ == "__main__":
    main()
