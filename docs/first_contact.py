"""Run the commands of the page on first contact and write their output into the page: `python docs/first_contact.py`.

The environment variable `ASTRODL_TEST_DATA` is the folder of the real data.
"""

import contextlib
import io
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from astrodl import cli

PAGE = Path(__file__).with_suffix(".md")
SURVEY = "hst_egs_specz"


def transcripts(data: Path) -> dict[str, str]:
    """Run the commands of the page in a copy of the survey's folder; return the content of each block."""
    lines = PAGE.read_text("utf-8").splitlines()
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("astrodl ")]
    with tempfile.TemporaryDirectory() as folder:
        work = shutil.copytree(data / SURVEY, Path(folder, SURVEY), copy_function=shutil.copyfile)
        work.chmod(0o755)  # the data may be read-only
        with contextlib.chdir(work):
            output = {words[0]: _run(words) for words in commands}
            draft = Path("egs.yaml").read_text("utf-8")
    blocks = {"init": ("text", output["init"]), "yaml": ("yaml", draft), "inspect": ("text", output["inspect"])}
    return {name: f"```{language}\n{text}```" for name, (language, text) in blocks.items()}


def _run(words: list[str]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = cli.main([*words, *(["--no-progress"] if words[0] == "ingest" else [])])
    if status:
        raise SystemExit(f"astrodl {shlex.join(words)} failed")
    return out.getvalue()


if __name__ == "__main__":
    from generate import write_block

    text = PAGE.read_text("utf-8")
    for name, content in transcripts(Path(os.environ["ASTRODL_TEST_DATA"])).items():
        text = write_block(text, name, content)
    PAGE.write_text(text, "utf-8")
