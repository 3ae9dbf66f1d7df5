"""Documentation: examples run, tables agree with the code, and the pages build."""

import ast
import doctest
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from PIL import Image

import astrodl
from astrodl import cli, tasks
from astrodl.config import parse
from astrodl.pipeline.schema import root
from astrodl.store import Reader
from astrodl.tasks.model import Model
from tests.conftest import ROOT
from tests.small_store import write_store

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def import_script(name: str) -> ModuleType:
    """Import a script of `docs`, which is not a package; `record` imports `generate` by name."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
        assert spec
        assert spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def generate() -> ModuleType:
    """The script that writes the generated tables."""
    return import_script("generate")


@pytest.fixture
def record(generate: ModuleType) -> ModuleType:
    """The script that writes the results of a run."""
    return import_script("record")


def find_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def find_commands() -> list[tuple[str, str]]:
    lines = [(page.name, line) for page in PAGES for block in find_blocks(page, "sh") for line in block.splitlines()]
    return [(page, line) for page, line in lines if line.strip()]


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = "".join(find_blocks(DOCS / "tutorial.md", "python"))
    test = doctest.DocTestParser().get_doctest(source, {}, "tutorial", str(DOCS / "tutorial.md"), 0)
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test)
    assert runner.tries > 20
    assert runner.failures == 0


def test_generated_tables_are_up_to_date(generate: ModuleType) -> None:
    for path, text in generate.pages().items():
        assert path.read_text("utf-8") == text, f"{path.name} is out of date: run `python docs/generate.py`"


def test_every_key_of_the_configuration_is_described() -> None:
    rows = [line for line in (DOCS / "configuration.md").read_text("utf-8").splitlines() if line.startswith("| `")]
    assert len(rows) > 90
    for row in rows:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) == 4
        assert all(cells), row


@pytest.mark.parametrize("task", tasks.NAMES)
def test_every_metric_is_defined_on_the_page_of_its_task(task: str) -> None:
    page = (DOCS / "tasks" / f"{task}.md").read_text("utf-8")
    assert not [metric.name for metric in tasks.get(task).metrics if f"`{metric.name}`" not in page]


@pytest.mark.parametrize(("page", "line"), find_commands(), ids=lambda value: str(value)[:40])
def test_commands_of_the_pages_are_valid(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "astrodl":
        args = cli.parser().parse_args(words[1:])
        if getattr(args, "settings", None):
            assert args.settings.endswith(".yaml") or json.loads(args.settings)
    elif words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert words[1] in targets
    else:
        assert words[0] in ("snakemake", "pip", "git", "cp")
    for word in words:
        path = word.rpartition("=")[2]
        if path.startswith(("config/", "workflow/")):
            assert (ROOT / path).exists(), f"{page}: {path} does not exist"


def test_the_python_example_of_the_readme_uses_existing_names() -> None:
    (example,) = find_blocks(ROOT / "README.md", "python")
    names = {node.attr for node in ast.walk(ast.parse(example)) if isinstance(node, ast.Attribute)}
    assert len(names) > 3
    for name in names:
        assert any(hasattr(owner, name) for owner in (astrodl, Reader, Model)), name


def test_configurations_in_the_pages_are_valid() -> None:
    configurations = [yaml.safe_load(block) for page in PAGES for block in find_blocks(page, "yaml")]
    complete = [values for values in configurations if "surveys" in values and "tasks" in values]
    assert len(complete) >= 2
    for values in complete:
        parse(root(), values, "page")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links_and_images_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_a_block_is_replaced_between_its_markers(generate: ModuleType) -> None:
    text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n"
    replaced = generate.write_block(text, "x", "new \\1")
    assert replaced == "a\n<!-- x:begin -->\nnew \\1\n<!-- x:end -->\nb\n"
    with pytest.raises(ValueError, match="markers of the block 'y'"):
        generate.write_block(text, "y", "")


def test_numbers_have_two_digits_of_their_error(record: ModuleType) -> None:
    assert record.number({"value": 0.123456, "error": 0.01234}) == "0.123 ± 0.012"
    assert record.number({"value": -1.5, "error": 0.3}) == "−1.50 ± 0.30"
    assert record.number({"value": None, "error": None}) == "–"
    assert record.number(None) == "–"


def test_figures_are_smaller_than_the_limit(record: ModuleType, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (500, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    record.shrink(tmp_path / "large.png", tmp_path / "small.png")
    assert (tmp_path / "small.png").stat().st_size < record.LARGEST_BYTES
    assert all(path.stat().st_size < record.LARGEST_BYTES for path in (DOCS / "images").glob("*.png"))


def write_results(folder: Path) -> None:
    """Write the results of a run of all tasks in which every metric is 0.5."""
    (folder / "benchmarks" / "photoz").mkdir(parents=True)
    header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"
    row = "37.4\t0:00:37\t305.8\t1\t1\t1\t-\t-\t1\t6.5"
    (folder / "benchmarks" / "photoz" / "train-fold0-seed0.tsv").write_text(f"{header}\n{row}\n")
    write_store(folder / "store.h5")
    for name in tasks.NAMES:
        task = tasks.get(name)
        values = {metric.name: {"value": 0.5, "error": 0.0123} for metric in task.metrics}
        document = {"task": name, "n_objects": 7, "headline": list(task.headline), "network": values}
        document |= {"metrics": {metric.name: metric.describe() for metric in task.metrics}}
        (folder / name / "figures").mkdir(parents=True)
        (folder / name / "metrics.json").write_text(json.dumps({**document, "baselines": {"forest": values}}))
    Image.new("RGB", (60, 40)).save(folder / "photoz" / "figures" / "pit.png")


def test_record_writes_the_results_of_a_run_into_the_pages(
    record: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs, results = tmp_path / "docs", tmp_path / "results"
    shutil.copytree(DOCS, docs, ignore=shutil.ignore_patterns("_build", "__pycache__", "images"))
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.setattr(record, "DOCS", docs)
    write_results(results)
    record.record(results)
    readme = (tmp_path / "README.md").read_text("utf-8")
    assert re.search(r"^\| .*latent.* \| 0.500 ± 0.012 \| forest 0.500 ± 0.012 \|$", readme, re.MULTILINE)
    page = (docs / "tasks" / "photoz.md").read_text("utf-8")
    assert "](../images/photoz-pit.png)" in page
    assert "7 test objects" in page
    assert "| photoz train-fold0-seed0 | 37 | 6 | 306 |" in (docs / "results.md").read_text("utf-8")


@pytest.mark.slow
def test_the_pages_build_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_heading_and_no_generated_block_is_twice_in_a_page(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for pattern in (r"^## .*", r"<!-- (\S+:begin) -->"):
        found = Counter(re.findall(pattern, text, re.MULTILINE))
        assert [name for name, number in found.items() if number > 1] == []
