"""Copy tables and figures of a study into the documentation: ``python copy_to_docs.py DOCS PAGE=PART ...``."""

import re
import sys
from pathlib import Path

from study import PAGES

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
from generate import write_block
from record import shrink


def main(docs: str, *blocks: str) -> None:
    for block in blocks:
        page, part = block.split("=")
        text = (PAGES / f"{part}.md").read_text("utf-8")
        target = Path(docs, page)
        target.write_text(write_block(target.read_text("utf-8"), f"study-{part}", text), "utf-8")
        for name in re.findall(r"images/([\w-]+\.png)", text):
            shrink(PAGES / name, Path(docs, "images", name))


if __name__ == "__main__":
    main(*sys.argv[1:])
