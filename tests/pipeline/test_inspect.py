"""The verb inspect: content of a store as text and as a contact sheet."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

from astrodl import cli
from astrodl.pipeline.inspect import FLAG_WORDS, aperture, depth, inspect
from astrodl.plots import images as plots
from astrodl.store import FLAGS, Writer
from tests.small_store import BANDS, N_OBJECTS


@pytest.fixture
def own_store(store: Path, tmp_path: Path) -> Path:
    """A copy of the small store, for files beside it."""
    return Path(shutil.copy(store, tmp_path))


@pytest.fixture
def uncalibrated_store(tmp_path: Path) -> Path:
    """A store of four objects without calibration, labels or pixel scale; the first lacks a band."""
    n, size = 4, 16
    attributes = {"bands": ("r",), "size": size, "feature_names": ("snr",), "pixel_scale_arcsec": None}
    path = tmp_path / "uncalibrated.h5"
    with Writer(path, n_objects=n, survey="toy", source_checksum="0", unit="relative", **attributes) as writer:
        arrays = {"image": np.ones((n, 1, size, size), np.float32), "features": np.ones((n, 1), np.float32)}
        arrays |= {"sky_sigma": np.ones((n, 1), np.float32), "background": np.zeros((n, 1), np.float32)}
        arrays |= {"flags": np.array([1, 0, 0, 0], np.int32), "band_flags": np.array([[1], [0], [0], [0]], np.uint8)}
        arrays |= {"split": np.array([0, 0, 1, 2], np.int8), "fold": np.array([0, 1, 0, -1], np.int16)}
        names = ["a", "b", "c", "12345678901234567890"]
        writer.write_block(0, arrays | {"object_id": np.array(names, dtype=object)})
    return path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments with which the contact sheet is drawn."""
    arguments: dict[str, Any] = {}

    def draw(rgb: Any, rows: Any, labels: Any, **options: Any) -> Any:
        arguments.update(options, rgb=rgb, rows=rows, labels=labels)
        return plots.sheet_of_rows(rgb, rows, labels, **options)

    monkeypatch.setattr("astrodl.pipeline.inspect.sheet_of_rows", draw)
    return arguments


def find_line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_the_depth_is_that_of_blank_apertures() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (400, 60, 60))
    scale = 0.2
    y, x = np.indices((60, 60)) - 29.5
    inside = np.hypot(x, y) < aperture(scale)[0] / 2
    fluxes = noise[:, inside].sum(axis=1)
    assert depth(0.01, scale) == pytest.approx(23.9 - 2.5 * np.log10(5 * fluxes.std()), abs=0.1)


def test_apertures_depend_on_the_pixel_scale() -> None:
    assert aperture(0.2) == (10, "2 arcsec")
    assert aperture(0.05) == (8, "0.4 arcsec")
    assert aperture(None)[1] == "10 pixels"


def test_the_text_describes_bands_splits_and_columns(store: Path) -> None:
    text = inspect(store)
    assert f"{N_OBJECTS} objects" in text
    assert "microjansky" in text
    g = find_line(text, "g ").split()
    assert g[0] == BANDS[0]
    assert float(g[1]) == pytest.approx(100 / N_OBJECTS, rel=0.05)  # one object lacks the band
    assert float(g[4]) == pytest.approx(0.2, rel=0.01)
    assert float(g[5]) == pytest.approx(depth(0.2, 0.1), abs=0.006)
    counts = [int(find_line(text, name).split()[1]) for name in ("train", "validation", "test")]
    assert sum(counts) == N_OBJECTS
    assert counts[0] > counts[2] > counts[1]
    assert "z" in find_line(text, "columns:")


def test_every_flag_has_a_description() -> None:
    assert FLAG_WORDS.keys() == FLAGS.keys()


def test_reasons_of_the_quarantine_are_counted(own_store: Path) -> None:
    assert "quarantine:" not in inspect(own_store)
    reasons = ["the file is empty"] * 3 + ["all pixels are NaN"]
    table = Table({"object_id": list("abcd"), "file": list("abcd"), "band": [""] * 4, "reason": reasons})
    table.write(own_store.with_name("quarantine.ecsv"), format="ascii.ecsv")
    text = inspect(own_store)
    assert "4 objects refused" in find_line(text, "quarantine:")
    assert find_line(text, "3 times").endswith("the file is empty")


def test_a_damaged_quarantine_is_a_user_error(own_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_store.with_name("quarantine.ecsv").write_text("no table")
    assert cli.main(["inspect", str(own_store), "--out", str(own_store.with_name("a.png"))]) == 2
    assert "quarantine.ecsv: cannot be read" in capsys.readouterr().err


def test_an_uncalibrated_store_has_no_depth(uncalibrated_store: Path, store: Path) -> None:
    text = inspect(uncalibrated_store)
    assert "relative fluxes" in text
    assert "depth" not in text
    assert "depth" in inspect(store)
    assert "2 folds of 2, 1 objects" in text
    assert "1 without a band" in text


def test_the_sheet_shows_the_splits_in_separate_rows(store: Path, tmp_path: Path, drawn: dict[str, Any]) -> None:
    inspect(store, tmp_path / "sheet.png")
    rows, frame = drawn["rows"], drawn["frame"]
    assert drawn["labels"] == ["train", "", "", "validation", "test", ""]
    assert sorted(k for row in rows for k in row) == list(range(len(drawn["rgb"])))
    assert len({frame(k) for k in rows[0]}) == 1
    assert frame(rows[0][0]) != frame(rows[3][0])
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_titles_are_short_and_name_a_missing_band(
    uncalibrated_store: Path, tmp_path: Path, drawn: dict[str, Any]
) -> None:
    inspect(uncalibrated_store, tmp_path / "sheet.png")
    first, *others, long = [drawn["title"](k) for row in drawn["rows"] for k in row]
    assert first.startswith("a\n")
    assert "band" in first
    assert others == ["b", "c"]
    assert len(long) <= 10


def test_the_sheet_is_written_beside_the_store_by_default(own_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(own_store)]) == 0
    assert own_store.with_name("store_sheet.png").is_file()
    assert "contact sheet: " in capsys.readouterr().out


def test_a_file_that_is_not_a_store_is_a_user_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.h5").write_bytes(b"nothing")
    assert cli.main(["inspect", str(tmp_path / "a.h5")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
