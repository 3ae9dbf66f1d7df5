"""`astrodl run`: the packaged workflow from any folder, and as a module of another workflow."""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from astrodl import cli
from astrodl.cli import run as module
from tests.workflow.run import BIN, TINY, environment, write_config

Capture = pytest.CaptureFixture[str]
ONE_TASK = {"surveys": {"one": {"simulate": {"n_objects": 2, "size": 32}}}, "tasks": {"latent": {}}}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Command lines that would have been called."""
    called: list[list[str]] = []

    def record(words: list[str]) -> int:
        called.append(words)
        return 0

    monkeypatch.setattr(module, "_call", record)
    monkeypatch.setattr("astrodl.summary", lambda folder: str(folder), raising=False)
    return called


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_a_run_makes_all_results_beside_the_configuration_and_then_the_report(
    calls: list[list[str]], tmp_path: Path, capsys: Capture
) -> None:
    config = write_config(tmp_path / "c.yaml", **ONE_TASK)
    assert cli.main(["run", str(config), "--cores", "3"]) == 0
    run, report = calls
    for words in calls:
        assert option(words, "--directory") == str(tmp_path)
        assert option(words, "--configfile") == str(config)
        assert Path(option(words, "--snakefile")).is_file()
        assert Path(option(words, "--workflow-profile")).name == "default"
    assert option(run, "--cores") == "3"
    assert option(report, "--report") == str(tmp_path / "results" / "one" / "report.html")
    assert capsys.readouterr().out == f"{tmp_path / 'results' / 'one'}\n"


def test_targets_and_options_of_snakemake_follow_in_any_order(calls: list[list[str]], tmp_path: Path) -> None:
    config = str(write_config(tmp_path / "c.yaml", **ONE_TASK))
    for words in (["a", "b", "--dry-run"], ["--dry-run", "a", "b"], ["a", "--dry-run", "b"]):
        calls.clear()
        assert cli.main(["run", config, *words]) == 0
        assert [words[-3:] for words in calls] == [["all", "a", "b"]]
        assert "--dry-run" in calls[0]
    assert cli.main(["run", config, "a", "--cores", "1", "--", "--resources", "gpu=1"]) == 0
    assert calls[-1][-3:] == ["a", "--resources", "gpu=1"]


def test_results_of_several_surveys_elsewhere(
    calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASTRODL_SCRATCH", "scratch")
    surveys = {name: {"simulate": {}} for name in ("one", "two")}
    config = write_config(tmp_path / "c.yaml", results="$ASTRODL_SCRATCH/r", surveys=surveys, tasks={"latent": {}})
    assert cli.main(["run", str(config), "--directory", str(tmp_path / "there")]) == 0
    assert option(calls[1], "--report") == str(tmp_path / "there" / "scratch" / "r" / "report.html")
    assert option(calls[0], "--directory") == str(tmp_path / "there")
    assert option(calls[0], "--cores") == "all"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--profile", "nowhere"], "--profile nowhere: no such profile; give one of cluster, default, slurm"),
        (["--directory", __file__], f"{__file__}: file exists; give another path"),
        (["--cores", "0"], "0 is below 1"),
        (["--unknown", "1"], "unrecognized arguments: --unknown"),
    ],
)
def test_wrong_options_are_one_line(
    words: list[str], message: str, calls: list[list[str]], tmp_path: Path, capsys: Capture
) -> None:
    config = write_config(tmp_path / "c.yaml", **ONE_TASK)
    try:
        status = cli.main(["run", str(config), *words])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert calls == []


def test_a_wrong_configuration_starts_nothing(calls: list[list[str]], tmp_path: Path, capsys: Capture) -> None:
    config = write_config(tmp_path / "c.yaml", **ONE_TASK, result="x")
    assert cli.main(["run", str(config)]) == 2
    assert "key 'result' is not known" in capsys.readouterr().err
    assert calls == []


def test_missing_packages_are_named(calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path / "c.yaml", **ONE_TASK)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if "slurm" in name else object())
    with pytest.raises(module.ConfigError, match="pip install snakemake-executor-plugin-slurm"):
        module._snakemake(config, tmp_path, "slurm")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(module.ConfigError, match="snakemake is not installed"):
        module._snakemake(config, tmp_path, None)


def test_the_workflow_is_part_of_the_package(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--show-workflow"])
    folder = Path(capsys.readouterr().out.strip())
    schema = json.loads((folder / "schemas" / "config.schema.json").read_text())
    assert schema["title"] == "astrodl configuration"
    for name in ("Snakefile", "rules/common.smk", "report/workflow.rst", "profiles/slurm/config.yaml"):
        assert (folder / name).is_file(), name


def run_in(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_workflow_runs_from_an_empty_folder(tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", **ONE_TASK)
    (tmp_path / "empty").mkdir()
    run_in(tmp_path / "empty", "astrodl", "run", str(config), "--cores", "1", "results/one/simulated/catalog.fits")
    assert (tmp_path / "results" / "one" / "simulated" / "catalog.fits").is_file()
    assert not list((tmp_path / "empty").iterdir())


def test_the_workflow_is_a_module_of_another_one(tmp_path: Path) -> None:
    own: dict[str, Any] = {"survey": {"surveys": {"one": {"simulate": {}}}, "tasks": {"latent": {}}}}
    write_config(tmp_path / "own.yaml", **own)
    page = (Path(__file__).parents[1] / "docs" / "workflow.md").read_text()
    (text,) = re.findall(r"```python\n(module astrodl.*?)```", page, flags=re.DOTALL)
    text = text.replace("/path/of/workflow", str(module.workflow_folder()))
    (tmp_path / "Snakefile").write_text(f"configfile: 'own.yaml'\n\n{text}")
    output = run_in(tmp_path, "snakemake", "--cores", "1", "--dry-run")
    assert re.search(r"^total +10$", output, flags=re.MULTILINE)
    assert re.search(r"^astrodl_train +1$", output, flags=re.MULTILINE)


@pytest.mark.slow
def test_snakemake_and_its_jobs_end_when_the_run_is_killed(tmp_path: Path) -> None:
    surveys = {"one": {"simulate": {"n_objects": 20_000, "size": 64}}}
    config = write_config(tmp_path / "c.yaml", surveys=surveys, tasks={"latent": {}})
    words = [str(BIN / "astrodl"), "run", str(config), "--cores", "1"]
    with (tmp_path / "printed").open("w") as printed:
        run = subprocess.Popen(words, env=environment(), stdout=printed, stderr=printed)
    images, deadline = tmp_path / "results" / "one" / "simulated", time.monotonic() + 60
    while not images.exists():
        assert time.monotonic() < deadline, (tmp_path / "printed").read_text()
        time.sleep(0.1)
    started = psutil.Process(run.pid).children(recursive=True)
    assert len(started) >= 2
    run.kill()
    run.wait()
    assert not psutil.wait_procs(started, timeout=30)[1]
    assert not list((tmp_path / ".snakemake" / "locks").iterdir())


@pytest.mark.slow
def test_two_commands_lead_from_images_and_a_table_to_catalogue_and_report(tmp_path: Path) -> None:
    run_in(
        tmp_path, "astrodl", "run", str(TINY), "--directory", ".", "--cores", "1", "results/tiny/simulated/catalog.fits"
    )
    sky = tmp_path / "results" / "tiny" / "simulated"
    inputs = ["--catalog", f"{sky}/catalog.fits", "--images", f"{sky}/images/{{id}}.fits"]
    run_in(tmp_path, "astrodl", "init", *inputs, "--name", "sky", "--out", "sky.yaml")
    values = yaml.safe_load((tmp_path / "sky.yaml").read_text())
    values["tasks"] = {"latent": {"train": {"epochs": 2, "batch_size": 16}}}
    write_config(tmp_path / "sky.yaml", **values)
    run_in(tmp_path, "astrodl", "run", "sky.yaml", "--cores", "2")
    assert (tmp_path / "results" / "sky" / "catalog.fits").is_file()
    assert (tmp_path / "results" / "sky" / "report.html").is_file()
