from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

from astrodl import cli
from astrodl.pipeline.inspect import FLAG_WORDS, aperture, depth, inspect
from astrodl.plots import images as plots
from astrodl.store import FLAGS, Writer
from tests.small_store import BANDS, N_OBJECTS, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: Any) -> Path:
    return write_store(tmp_path_factory.mktemp("contents") / "store.h5")


def line(text: str, start: str) -> str:
    return next(one for one in text.splitlines() if one.strip().startswith(start))


def test_the_depth_is_that_of_blank_apertures() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (400, 60, 60))
    scale = 0.2
    y, x = np.indices((60, 60)) - 29.5
    inside = np.hypot(x, y) < aperture(scale)[0] / 2
    fluxes = noise[:, inside].sum(axis=1)
    assert depth(0.01, scale) == pytest.approx(23.9 - 2.5 * np.log10(5 * fluxes.std()), abs=0.1)


def test_apertures_are_those_of_ground_and_space() -> None:
    assert aperture(0.2) == (10, "2 arcsec")
    assert aperture(0.05) == (8, "0.4 arcsec")
    assert aperture(None)[1] == "10 pixels"


def test_the_text_tells_bands_splits_and_flags(store: Path) -> None:
    text = inspect(store)
    assert f"{N_OBJECTS} objects" in text
    assert "microjansky" in text
    g = line(text, "g ").split()
    assert g[0] == BANDS[0]
    assert float(g[1]) == pytest.approx(100 / N_OBJECTS, rel=0.05)  # one object lacks the band
    assert float(g[4]) == pytest.approx(0.2, rel=0.01)
    assert float(g[5]) == pytest.approx(depth(0.2, 0.1), abs=0.006)
    counts = [int(line(text, name).split()[1]) for name in ("train", "validation", "test")]
    assert sum(counts) == N_OBJECTS
    assert counts[0] > counts[2] > counts[1]
    assert "z" in line(text, "columns:")


def test_every_flag_has_words() -> None:
    assert FLAG_WORDS.keys() == FLAGS.keys()


def test_reasons_of_refusals_are_counted(store: Path) -> None:
    listed = store.with_name("quarantine.ecsv")
    reasons = ["the file is empty"] * 3 + ["all pixels are NaN"]
    Table({"object_id": list("abcd"), "file": list("abcd"), "band": [""] * 4, "reason": reasons}).write(
        listed, format="ascii.ecsv"
    )
    text = inspect(store)
    listed.unlink()
    assert "4 objects refused" in line(text, "quarantine:")
    assert line(text, "3 times").endswith("the file is empty")
    assert "quarantine" not in inspect(store)


def test_a_damaged_list_of_refusals_is_one_line(store: Path, capsys: Any) -> None:
    listed = store.with_name("quarantine.ecsv")
    listed.write_text("no table")
    assert cli.main(["inspect", str(store), "--out", str(store.with_name("a.png"))]) == 2
    listed.unlink()
    assert "quarantine.ecsv: cannot be read" in capsys.readouterr().err


@pytest.fixture
def relative(tmp_path: Path) -> Path:
    """A store of four objects without calibration, labels or scale; the first lacks a band."""
    n, size = 4, 16
    attributes = {"bands": ("r",), "size": size, "feature_names": ("snr",), "pixel_scale_arcsec": None}
    path = tmp_path / "store.h5"
    with Writer(path, n_objects=n, survey="toy", source_checksum="0", unit="relative", **attributes) as writer:
        arrays = {"image": np.ones((n, 1, size, size), np.float32), "features": np.ones((n, 1), np.float32)}
        arrays |= {"sky_sigma": np.ones((n, 1), np.float32), "background": np.zeros((n, 1), np.float32)}
        arrays |= {"flags": np.array([1, 0, 0, 0], np.int32), "band_flags": np.array([[1], [0], [0], [0]], np.uint8)}
        arrays |= {"split": np.array([0, 0, 1, 2], np.int8), "fold": np.array([0, 1, 0, -1], np.int16)}
        names = ["a", "b", "c", "12345678901234567890"]
        writer.write_block(0, arrays | {"object_id": np.array(names, dtype=object)})
    return path


def test_uncalibrated_stores_have_no_depth(relative: Path, store: Path) -> None:
    text = inspect(relative)
    assert "relative fluxes" in text
    assert "depth" not in text
    assert "depth" in inspect(store)
    assert "2 folds of 2, 1 objects" in text
    assert "1 without a band" in text


def test_the_sheet_shows_each_split_in_rows_of_its_own(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def draw(rgb: Any, rows: Any, labels: Any, **also: Any) -> Any:
        seen.update(rows=rows, labels=labels, n=len(rgb), title=also["title"], frame=also["frame"])
        return plots.sheet_of_rows(rgb, rows, labels, **also)

    monkeypatch.setattr("astrodl.pipeline.inspect.sheet_of_rows", draw)
    inspect(store, tmp_path / "sheet.png")
    assert seen["labels"] == ["train", "", "", "validation", "test", ""]
    shown = [k for row in seen["rows"] for k in row]
    assert sorted(shown) == list(range(seen["n"]))
    assert len({seen["frame"](k) for k in seen["rows"][0]}) == 1
    assert seen["frame"](seen["rows"][0][0]) != seen["frame"](seen["rows"][3][0])
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_titles_tell_what_is_lacking_and_fit_above_the_cutouts(
    relative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []

    def draw(rgb: Any, rows: Any, labels: Any, **also: Any) -> Any:
        titles.extend(also["title"](k) for row in rows for k in row)
        return plots.sheet_of_rows(rgb, rows, labels, **also)

    monkeypatch.setattr("astrodl.pipeline.inspect.sheet_of_rows", draw)
    inspect(relative, tmp_path / "sheet.png")
    assert titles == ["a\nlacks a band", "b", "c", "1234…7890"]


def test_inspect_draws_beside_the_store_unless_told_where(store: Path, capsys: Any) -> None:
    assert cli.main(["inspect", str(store)]) == 0
    assert store.with_name("store_sheet.png").is_file()
    assert "contact sheet: " in capsys.readouterr().out


def test_what_is_no_store_is_refused(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.h5").write_bytes(b"nothing")
    assert cli.main(["inspect", str(tmp_path / "a.h5")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
