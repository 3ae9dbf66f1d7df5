"""The progress bar: lines without a terminal, a bar with a rate on request, or nothing."""

import pytest

from astrodl.progress import progress_bar


def test_without_a_terminal_a_line_is_printed_when_the_text_changes(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("train", 4, None) as show:
        for done, text in enumerate(("", "loss 2", "loss 2", "loss 1"), 1):
            show(done, text)
    assert capsys.readouterr().err == "train 2/4 loss 2\ntrain 4/4 loss 1\n"


def test_the_bar_shows_steps_per_second(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("ingest", 3, True, unit="objects") as show:
        show(1)
        show(3)
    printed = capsys.readouterr().err
    assert "3/3" in printed
    assert "objects/s" in printed


def test_the_bar_can_be_disabled(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("train", 2, False) as show:
        show(2, "loss 1")
    assert capsys.readouterr().err == ""
