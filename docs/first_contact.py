"""Run what the page on first contact shows, and write what it says into the page: `python docs/first_contact.py`.

`ASTRODL_TEST_DATA` names the folder of the real data.
"""

import contextlib
import io
import os
import shlex
import tempfile
from pathlib import Path

from astrodl import cli

DOCS = Path(__file__).parent
SURVEY = "hst_egs_specz"


def transcripts(data: Path) -> dict[str, str]:
    """Run the commands of the page in a folder with links to the survey; give the content of each block."""
    page = (DOCS / "first_contact.md").read_text("utf-8")
    commands = [shlex.split(line)[1:] for line in page.splitlines() if line.startswith("astrodl ")]
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, SURVEY)
        work.mkdir()
        for path in (data / SURVEY).rglob("*"):
            target = work / path.relative_to(data / SURVEY)
            if path.is_file():
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(path.read_bytes())
        os.chdir(work)
        try:
            said = {words[0]: _run(words) for words in commands}
            draft = Path("egs.yaml").read_text("utf-8")
        finally:
            os.chdir(here)
    fence = "```"
    return {
        "init": f"{fence}text\n{said['init']}{fence}",
        "yaml": f"{fence}yaml\n{draft}{fence}",
        "inspect": f"{fence}text\n{said['inspect']}{fence}",
    }


def _run(words: list[str]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = cli.main([*words, *(["--no-progress"] if words[0] == "ingest" else [])])
    if status:
        raise SystemExit(f"astrodl {shlex.join(words)} failed")
    return out.getvalue()


if __name__ == "__main__":
    from generate import write_block

    page = DOCS / "first_contact.md"
    text = page.read_text("utf-8")
    for name, content in transcripts(Path(os.environ["ASTRODL_TEST_DATA"])).items():
        text = write_block(text, name, content)
    page.write_text(text, "utf-8")
