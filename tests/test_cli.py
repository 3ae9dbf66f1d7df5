"""The command line: verbs, help, user errors in one line, exit statuses."""

import argparse
import json
import shlex
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import astrodl
from astrodl import cli
from astrodl.cli import reports
from astrodl.errors import ConfigError
from astrodl.tasks import NAMES

VERBS = {
    "explain",
    "run",
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
    "product",
    "segment",
    "inject",
    "hats",
    "embed",
    "similar",
    "map",
    "review",
    "rerank",
    "overview",
    "check",
    "schema",
    "summary",
}

Run = Callable[[argparse.Namespace], None]
Capture = pytest.CaptureFixture[str]


def list_verbs() -> dict[str, argparse.ArgumentParser]:
    actions = [action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices)


@pytest.fixture
def replace_schema(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """A function that replaces what `astrodl schema` runs."""

    def replace(run: Run) -> None:
        run.__name__, run.__doc__ = "_schema", "Run.\n\nastrodl schema"
        monkeypatch.setattr(reports, "_schema", run)

    return replace


@pytest.fixture
def fail_with(replace_schema: Callable[[Run], None]) -> Callable[[BaseException], None]:
    """A function that lets `astrodl schema` raise an error."""

    def fail(error: BaseException) -> None:
        def run(args: argparse.Namespace) -> None:
            raise error

        replace_schema(run)

    return fail


def test_the_verbs_are_those_of_the_pipeline() -> None:
    assert set(list_verbs()) == VERBS


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_example_in_the_help_of_a_verb_parses(verb: str) -> None:
    epilog = list_verbs()[verb].epilog
    assert epilog is not None
    words = shlex.split(epilog.removeprefix("example:\n"))
    assert words[:2] == ["astrodl", verb]
    args = cli.parser().parse_args(words[1:])
    if getattr(args, "settings", None) and args.settings.startswith("{"):
        json.loads(args.settings)


def test_train_accepts_all_tasks() -> None:
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
def test_wrong_arguments_exit_with_status_2_and_a_message(words: list[str], message: str, capsys: Capture) -> None:
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
def test_wrong_settings_are_one_line_with_status_2(
    settings: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "survey"
    assert cli.main(["simulate", "--out", str(out), "--settings", settings]) == 2
    error = capsys.readouterr().err
    assert error.startswith("astrodl: ")
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("n_shards", [None, 0, "three"])
def test_a_wrong_number_of_shards_is_an_error(n_shards: Any, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "c.csv").write_text("object_id\na\n")
    data = {"root": str(tmp_path), "catalog": "c.csv", "layout": "rgb", "path": "x", "bands": [{"name": "g"}]}
    settings = json.dumps({"surveys": {"a": {"data": data, "shards": n_shards}}})
    assert cli.main(["shard", "--out", str(tmp_path / "shards"), "--settings", settings]) == 2
    assert f"shards = {n_shards!r}: must be a number from 1" in capsys.readouterr().err


def test_data_and_simulated_exclude_each_other(capsys: Capture) -> None:
    words = ["ingest", "--out", "s.h5", "--simulated", "survey", "--settings", '{"data": {}}']
    assert cli.main(words) == 2
    assert "--simulated" in capsys.readouterr().err


@pytest.fixture
def ingest(tmp_path: Path) -> Callable[..., int]:
    """A function that runs `astrodl ingest` on a configuration of two surveys, or of those that are given."""
    survey = {"data": {"catalog": "no.fits", "layout": "files", "path": "a.fits", "bands": [{"name": "g"}]}}
    survey["data"]["root"] = str(tmp_path)
    two_surveys = {"one": survey, "two": {**survey, "split": {"test": 0.3}}}

    def run(*options: str, surveys: dict[str, Any] = two_surveys) -> int:
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps({"surveys": surveys, "tasks": {"latent": {}}}))
        return cli.main(["ingest", "--settings", str(config), "--out", str(tmp_path / "s.h5"), *options])

    return run


def test_ingest_reads_the_survey_that_is_named(ingest: Callable[..., int], capsys: Capture) -> None:
    assert ingest("--survey", "two") == 2
    assert "no.fits: no such catalogue" in capsys.readouterr().err


def test_ingest_of_a_configuration_with_two_surveys_requires_a_name(
    ingest: Callable[..., int], capsys: Capture
) -> None:
    assert ingest() == 2
    assert "several surveys (has one, two); choose one with --survey" in capsys.readouterr().err
    assert ingest("--survey", "three") == 2
    assert "no survey 'three'" in capsys.readouterr().err


def test_ingest_of_a_survey_without_data_is_an_error(ingest: Callable[..., int], capsys: Capture) -> None:
    assert ingest(surveys={"one": None}) == 2
    assert "key 'data' is missing" in capsys.readouterr().err


def test_a_user_error_is_one_line_with_status_2(fail_with: Callable[[BaseException], None], capsys: Capture) -> None:
    fail_with(ConfigError("x.yaml: wrong; correct it"))
    assert cli.main(["schema"]) == 2
    assert capsys.readouterr().err == "astrodl: x.yaml: wrong; correct it\n"


def test_an_interrupt_exits_with_status_130(fail_with: Callable[[BaseException], None]) -> None:
    fail_with(KeyboardInterrupt())
    assert cli.main(["schema"]) == 130


def test_an_unexpected_error_keeps_its_traceback(fail_with: Callable[[BaseException], None]) -> None:
    fail_with(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["schema"])


def test_the_previous_sigterm_handler_is_restored(fail_with: Callable[[BaseException], None]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    fail_with(ConfigError("wrong"))
    cli.main(["schema"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_warning_is_one_line(replace_schema: Callable[[Run], None], capsys: Capture) -> None:
    def warn(args: argparse.Namespace) -> None:
        warnings.simplefilter("default")
        warnings.warn("key 'x' is ignored", stacklevel=1)

    replace_schema(warn)
    assert cli.main(["schema"]) == 0
    assert capsys.readouterr().err == "astrodl: warning: key 'x' is ignored\n"


def test_python_m_astrodl_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "astrodl", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout == cli.parser().format_help()


def test_version_is_that_of_the_package(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"astrodl {astrodl.__version__}\n"


def test_schema_writes_the_same_text_to_a_file_and_to_the_terminal(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["schema"]) == 0
    assert cli.main(["schema", "--out", str(tmp_path / "schema.json")]) == 0
    assert (tmp_path / "schema.json").read_text() == capsys.readouterr().out
