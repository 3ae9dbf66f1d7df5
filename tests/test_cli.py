import argparse
import json
import re
import shlex
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from astrodl import cli
from astrodl.cli import reports
from astrodl.errors import ConfigError, DataError
from astrodl.pipeline.summary import summary
from astrodl.tasks import NAMES

VERBS = {
    "simulate",
    "init",
    "shard",
    "ingest",
    "inspect",
    "train",
    "predict",
    "baseline",
    "evaluate",
    "catalog",
    "hats",
    "overview",
    "check",
    "schema",
    "summary",
}


def verbs() -> dict[str, argparse.ArgumentParser]:
    actions = [action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices)


def fail_with(error: BaseException) -> Any:
    def run(args: argparse.Namespace) -> None:
        raise error

    return run


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make `astrodl schema` raise an error of choice."""

    def set_error(error: BaseException) -> None:
        run = fail_with(error)
        run.__name__, run.__doc__ = "_schema", "Fail.\n\nastrodl schema"
        monkeypatch.setattr(reports, "_schema", run)

    return set_error


def test_the_verbs_are_those_of_the_pipeline() -> None:
    assert set(verbs()) == VERBS


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_example_in_the_help_of_a_verb_parses(verb: str) -> None:
    epilog = verbs()[verb].epilog
    assert epilog is not None
    words = shlex.split(epilog.removeprefix("example:\n"))
    assert words[:2] == ["astrodl", verb]
    args = cli.parser().parse_args(words[1:])
    if getattr(args, "settings", None) and args.settings.startswith("{"):
        json.loads(args.settings)


@pytest.mark.parametrize("given", [None, 0, "three"])
def test_a_number_of_shards_that_is_none_is_one_line_and_exit_two(
    given: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.csv").write_text("object_id\na\n")
    data = {"root": str(tmp_path), "catalog": "c.csv", "layout": "rgb", "path": "x", "bands": [{"name": "g"}]}
    settings = json.dumps({"surveys": {"a": {"data": data, "shards": given}}})
    assert cli.main(["shard", "--out", str(tmp_path / "shards"), "--settings", settings]) == 2
    assert f"shards = {given!r}: must be a number from 1" in capsys.readouterr().err


def test_all_tasks_are_choices_of_train() -> None:
    for task in NAMES:
        assert cli.parser().parse_args(["train", task, "store.h5", "--out", "x"]).task == task


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: VERB"),
        (["train", "nonsense", "s.h5", "--out", "x"], "'nonsense'"),
        (["train", "photoz", "s.h5"], "--out"),
        (["train", "photoz", "s.h5", "--out", "x", "--fold", "-1"], "below 0"),
        (["simulate", "--out", "x", "--workers", "0"], "below 1"),
        (["simulate", "--out", "x", "--workers", "two"], "invalid number value: 'two'"),
    ],
)
def test_wrong_usage_exits_with_two_and_says_what(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('{"n_object": 3}', "key 'n_object' is not known"),
        ('{"n_objects": "many"}', "n_objects = 'many'"),
        ('{"n_objects": 3', "not valid JSON"),
        ("nowhere.yaml", "nowhere.yaml: cannot be read"),
    ],
)
def test_wrong_settings_are_one_line_and_exit_two(
    settings: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "survey"
    assert cli.main(["simulate", "--out", str(out), "--settings", settings]) == 2
    error = capsys.readouterr().err
    assert error.startswith("astrodl: ")
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_data_and_simulated_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ingest", "--out", "s.h5", "--simulated", "survey", "--settings", '{"data": {}}']
    assert cli.main(words) == 2
    assert "--simulated" in capsys.readouterr().err


def test_an_error_of_the_user_is_one_line(broken: Any, capsys: pytest.CaptureFixture[str]) -> None:
    broken(ConfigError("x.yaml: wrong; mend it"))
    assert cli.main(["schema"]) == 2
    assert capsys.readouterr().err == "astrodl: x.yaml: wrong; mend it\n"


def test_an_interrupt_exits_with_130(broken: Any) -> None:
    broken(KeyboardInterrupt())
    assert cli.main(["schema"]) == 130


def test_a_defect_keeps_its_traceback(broken: Any) -> None:
    broken(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["schema"])


def test_the_sigterm_handler_is_put_back(broken: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    broken(ConfigError("wrong"))
    cli.main(["schema"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_warning_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def warn(args: argparse.Namespace) -> None:
        """Warn.

        astrodl schema
        """
        warnings.simplefilter("default")
        warnings.warn("key 'x' is ignored", stacklevel=1)

    warn.__name__ = "_schema"
    monkeypatch.setattr(reports, "_schema", warn)
    assert cli.main(["schema"]) == 0
    assert capsys.readouterr().err == "astrodl: warning: key 'x' is ignored\n"


def test_python_m_astrodl_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "astrodl", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout == cli.parser().format_help()


def test_version_is_the_one_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    import astrodl

    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"astrodl {astrodl.__version__}\n"


def test_schema_to_a_file_equals_schema_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    assert cli.main(["schema", "--out", str(tmp_path / "schema.json")]) == 0
    assert (tmp_path / "schema.json").read_text() == capsys.readouterr().out


class TestCheck:
    def test_names_files_that_are_missing_or_unknown(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "notes.txt").touch()
        assert cli.main(["check", str(tmp_path / "no.h5"), str(tmp_path / "notes.txt")]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert "no such file" in lines[0]
        assert "not known" in lines[1]

    @pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "a.fits", "a.safetensors", "a.yaml"])
    def test_tells_a_file_of_garbage(self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / name).write_bytes(b"\x80 not what the name says" * 50)
        assert cli.main(["check", str(tmp_path / name)]) == 1
        assert name in capsys.readouterr().out

    def test_accepts_the_configurations_of_the_project(self, capsys: pytest.CaptureFixture[str]) -> None:
        root = Path(__file__).resolve().parents[1]
        assert cli.main(["check", str(root / "config" / "config.yaml"), str(root / "config" / "tiny.yaml")]) == 0
        assert capsys.readouterr().out.count(": ok\n") == 2


class TestSummary:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        values = {"sigma_mad": {"value": 0.025, "error": 0.001}, "bias_mean": {"value": 0.0, "error": 0.1}}
        metrics = {
            "task": "photoz",
            "split": "test",
            "n_objects": 7,
            "headline": ["sigma_mad"],
            "network": values,
            "baselines": {"knn": {"sigma_mad": {"value": 0.03, "error": None}}},
        }
        (tmp_path / "photoz" / "figures").mkdir(parents=True)
        (tmp_path / "photoz" / "metrics.json").write_text(json.dumps(metrics))
        (tmp_path / "outliers").mkdir()
        unlabelled = {**metrics, "task": "outliers", "n_objects": 0, "network": {}, "baselines": {}}
        (tmp_path / "outliers" / "metrics.json").write_text(json.dumps(unlabelled))
        (tmp_path / "catalog.fits").touch()
        return tmp_path

    def test_stands_the_network_beside_its_baselines(self, folder: Path) -> None:
        line = next(line for line in summary(folder).splitlines() if line.startswith("photoz"))
        cells = ("photoz", "sigma_mad", "7 objects", "network 0.0250 +- 0.0010", "knn 0.0300")
        assert re.split(" {2,}", line) == list(cells)

    def test_says_what_was_not_measured(self, folder: Path) -> None:
        assert "not measured" in next(line for line in summary(folder).splitlines() if line.startswith("outliers"))

    def test_ends_with_the_places_of_what_exists(self, folder: Path) -> None:
        places = summary(folder).split("\n\n")[1]
        assert str(folder / "catalog.fits") in places
        assert str(folder / "photoz" / "figures") in places
        assert "report.html" not in places

    def test_names_a_file_that_does_not_hold_metrics(self, folder: Path) -> None:
        (folder / "outliers" / "metrics.json").write_text("[]")
        with pytest.raises(DataError, match="does not hold metrics"):
            summary(folder)

    def test_of_a_folder_without_results_is_an_error(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["summary", str(tmp_path)]) == 2
        assert "run the workflow first" in capsys.readouterr().err


class TestIngestOfAConfiguration:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        survey = {"data": {"catalog": "no.fits", "layout": "files", "path": "a.fits", "bands": [{"name": "g"}]}}
        survey["data"]["root"] = str(tmp_path)
        values = {"surveys": {"one": survey, "two": {**survey, "split": {"test": 0.3}}}, "tasks": {"latent": {}}}
        (tmp_path / "config.yaml").write_text(json.dumps(values))
        return tmp_path / "config.yaml"

    def ingest(self, root: Path, *words: str) -> int:
        return cli.main(["ingest", "--settings", str(root), "--out", str(root.with_name("s.h5")), *words])

    def test_asks_which_survey_where_there_are_several(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.ingest(root) == 2
        assert "several surveys (has one, two); choose one with --survey" in capsys.readouterr().err
        assert self.ingest(root, "--survey", "three") == 2
        assert "no survey 'three'" in capsys.readouterr().err

    def test_takes_the_survey_that_is_named(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.ingest(root, "--survey", "two") == 2
        assert "no.fits: no such catalogue" in capsys.readouterr().err

    def test_refuses_a_survey_without_data(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root.write_text(json.dumps({"surveys": {"one": None}}))
        assert self.ingest(root) == 2
        assert "key 'data' is missing" in capsys.readouterr().err
