"""Pages: what they show runs, what they list is what the code says, and they build."""

import ast
import doctest
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from PIL import Image

from astrodl import cli, tasks
from astrodl.config import parse
from astrodl.pipeline.schema import root

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
REWRITE = "run `python docs/generate.py` and look at the difference"


def module(name: str) -> ModuleType:
    """Import a script of the pages, which are no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
        assert spec
        assert spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    lines = [(page.name, line) for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    return [(page, line) for page, line in lines if line.strip()]


def test_the_tutorial_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "".join(blocks(DOCS / "tutorial.md", "python"))
    test = doctest.DocTestParser().get_doctest(source, {}, "tutorial", str(DOCS / "tutorial.md"), 0)
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test)
    assert runner.tries > 20
    assert runner.failures == 0


def test_generated_pages_are_in_sync_with_the_code():
    for path, text in module("generate").pages().items():
        assert path.read_text("utf-8") == text, f"{path.name} is out of date: {REWRITE}"


def test_every_key_of_the_schema_is_explained():
    rows = [line for line in (DOCS / "configuration.md").read_text("utf-8").splitlines() if line.startswith("| `")]
    assert len(rows) > 90
    for row in rows:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) == 4
        assert all(cells), row


@pytest.mark.parametrize("task", tasks.NAMES)
def test_every_metric_is_defined_on_the_page_of_its_task(task):
    page = (DOCS / "tasks" / f"{task}.md").read_text("utf-8").replace("_sersic", "_sersic`")
    missing = [name for name in tasks.get(task).metric_names if f"`{name}`" not in page]
    assert not missing


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: str(value)[:40])
def test_commands_in_the_pages_exist(page, line):
    words = shlex.split(line, comments=True)
    if words[0] == "astrodl":
        args = cli.parser().parse_args(words[1:])
        if getattr(args, "settings", None):
            assert args.settings.endswith(".yaml") or json.loads(args.settings)
    elif words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert words[1] in targets
    else:
        assert words[0] in ("snakemake", "pip")
    for word in words:
        path = word.rpartition("=")[2]
        if path.startswith(("config/", "workflow/")):
            assert (ROOT / path).exists(), f"{page}: {path} is not there"


def test_the_python_of_the_readme_uses_what_there_is():
    import astrodl
    from astrodl.store import Reader
    from astrodl.tasks.model import Model

    (snippet,) = blocks(ROOT / "README.md", "python")
    names = {node.attr for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Attribute)}
    assert names == {"open_store", "load_model", "select", "images", "column", "predict"}
    for name in names:
        assert any(hasattr(home, name) for home in (astrodl, Reader, Model)), name


def test_configurations_in_the_pages_are_valid():
    found = [yaml.safe_load(block) for page in PAGES for block in blocks(page, "yaml")]
    complete = [values for values in found if "surveys" in values and "tasks" in values]
    assert len(complete) >= 2
    for values in complete:
        parse(root(), values, "page")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_a_block_between_markers_is_replaced_and_nothing_else():
    write_block = module("generate").write_block
    text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
    assert write_block(text, "x", "new \\1") == "a\n<!-- x:begin -->\nnew \\1\n<!-- x:end -->\nb\n"
    with pytest.raises(ValueError, match="markers of the block 'y'"):
        write_block(text, "y", "")


def test_numbers_keep_two_digits_of_their_error():
    number = module_record().number
    assert number({"value": 0.123456, "error": 0.01234}) == "0.123 ± 0.012"
    assert number({"value": -1.5, "error": 0.3}) == "−1.50 ± 0.30"
    assert number({"value": None, "error": None}) == "–"
    assert number(None) == "–"


def module_record() -> ModuleType:
    module("generate")
    return module("record")


def test_figures_are_shrunk_below_the_limit(tmp_path):
    record = module_record()
    noise = np.random.default_rng(0).integers(0, 255, (500, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    record.shrink(tmp_path / "large.png", tmp_path / "small.png")
    assert (tmp_path / "small.png").stat().st_size < record.LARGEST_BYTES
    assert all(path.stat().st_size < record.LARGEST_BYTES for path in (DOCS / "images").glob("*.png"))


def test_a_run_is_recorded_in_all_pages(tmp_path, monkeypatch):
    from tests.small_store import write_store

    record, generate = module_record(), module("generate")
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("_build", "__pycache__", "images"))
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.setattr(record, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(generate, "DOCS", tmp_path / "docs")
    results = tmp_path / "results"
    (results / "benchmarks" / "photoz").mkdir(parents=True)
    header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"
    row = "37.4\t0:00:37\t305.8\t1\t1\t1\t-\t-\t1\t6.5"
    (results / "benchmarks" / "photoz" / "train-fold0-seed0.tsv").write_text(f"{header}\n{row}\n")
    write_store(results / "store.h5")
    for task in tasks.NAMES:
        kind = tasks.get(task)
        metrics = {name: {"value": 0.5, "error": 0.0123} for name in kind.metric_names}
        document = {"task": task, "n_objects": 7, "headline": list(kind.headline), "network": metrics}
        (results / task / "figures").mkdir(parents=True)
        (results / task / "metrics.json").write_text(json.dumps({**document, "baselines": {"rival": metrics}}))
    Image.new("RGB", (60, 40)).save(results / "photoz" / "figures" / "pit.png")
    record.record(results)
    readme = (tmp_path / "README.md").read_text("utf-8")
    assert "| [latent](docs/tasks/latent.md) | `knn_recall` | higher | 0.500 ± 0.012 | rival 0.500 ± 0.012 |" in readme
    page = (tmp_path / "docs" / "tasks" / "photoz.md").read_text("utf-8")
    assert "](../images/photoz-pit.png)" in page
    assert "7 test objects" in page
    assert "| photoz train-fold0-seed0 | 37 | 6 | 306 |" in (tmp_path / "docs" / "results.md").read_text("utf-8")


@pytest.mark.slow
def test_the_pages_build_without_warnings(tmp_path):
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
