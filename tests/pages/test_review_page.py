"""The review in a headless browser, with real keys."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astrodl.pages.review import KEYS, review_page
from astrodl.pages.sprites import make_sprites
from astrodl.products import Column

IDS = ["<img src=x onerror=alert(1)>", "__proto__", "a,b", 'quo"te', "7", "T5", "line\nbreak"]
LABELS = ("interesting", "boring", "artefact")

Open = Callable[[Path], Any]


def write_review(path: Path, classes: Sequence[str] = LABELS, **options: Any) -> Path:
    number = np.arange(len(IDS))
    images = np.zeros((len(IDS), 32, 32, 3)) + number[:, None, None, None] / 10
    columns = [Column("score", number / 10, None, "outlier score"), Column("kind", np.array(IDS), None, "kind")]
    sprites = make_sprites([images], len(IDS), side=32, max_bytes=10**6)
    options = {"title": "<b>tiny</b>", "key": "tiny/outliers/0", "brief": ["score"], **options}
    path.write_text(review_page(IDS, classes, columns, sprites, **options), "utf-8")
    return path


def save_labels(page: Any, path: Path) -> list[list[str]]:
    with page.expect_download() as download:
        page.click("#csv")
    download.value.save_as(path)
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def shown(page: Any) -> str:
    return str(page.locator("#object h1").text_content())


def test_keys_give_labels_and_go_on(tmp_path: Path, open_page: Open) -> None:
    page = open_page(write_review(tmp_path / "review.html"))
    assert shown(page) == IDS[0]
    assert page.locator("#object td").nth(1).inner_text() == "0"
    for key in "1233":
        page.keyboard.press(key)
    assert shown(page) == IDS[4]
    assert page.locator("#done").inner_text() == "4 of 7 objects have a label"
    rows = [
        ["object_id", "label"],
        *map(list, zip(IDS, ["interesting", "boring", "artefact", "artefact"], strict=False)),
    ]
    assert save_labels(page, tmp_path / "labels.csv") == rows
    assert page.locator("#counts td").all_inner_texts() == ["interesting", "1", "boring", "1", "artefact", "2"]


def test_arrows_move_undo_takes_back_and_backspace_removes(tmp_path: Path, open_page: Open) -> None:
    page = open_page(write_review(tmp_path / "review.html"))
    page.keyboard.press("1")
    page.keyboard.press("ArrowRight")
    assert shown(page) == IDS[2]
    page.keyboard.press("2")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("3")  # the object at 2 again: boring becomes artefact
    page.keyboard.press("u")
    assert shown(page) == IDS[2]
    assert page.locator('#keys [aria-pressed="true"]').get_attribute("data-label") == "boring"
    page.keyboard.press("Control+z")
    assert page.locator('#keys [aria-pressed="true"]').count() == 0
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert shown(page) == IDS[0]
    page.keyboard.press("Backspace")
    assert page.locator("#csv").is_disabled()
    page.keyboard.press("u")
    assert save_labels(page, tmp_path / "labels.csv")[1:] == [[IDS[0], "interesting"]]


def test_the_browser_keeps_the_labels_of_a_survey_and_its_models(tmp_path: Path, open_page: Open) -> None:
    page = open_page(write_review(tmp_path / "review.html"))
    for key in "12":
        page.keyboard.press(key)
    page.close()
    again = open_page(tmp_path / "review.html")
    assert shown(again) == IDS[2]
    assert save_labels(again, tmp_path / "labels.csv")[1:] == [[IDS[0], "interesting"], [IDS[1], "boring"]]
    other = open_page(write_review(tmp_path / "other.html", key="tiny/outliers/1"))
    assert other.locator("#done").inner_text() == "0 of 7 objects have a label"


def test_labels_given_before_are_part_of_the_file_and_can_be_taken_back(tmp_path: Path, open_page: Open) -> None:
    before = {"<old>": "boring", IDS[0]: "artefact"}
    page = open_page(write_review(tmp_path / "review.html", labels=before))
    assert shown(page) == IDS[1]
    page.keyboard.press("1")
    assert page.locator("#done").inner_text() == "2 of 7 objects have a label, and 1 of earlier pages"
    rows = [["<old>", "boring"], [IDS[0], "artefact"], [IDS[1], "interesting"]]
    assert save_labels(page, tmp_path / "labels.csv")[1:] == rows
    page.locator("#film button").first.click()
    page.keyboard.press("Backspace")
    page.close()
    again = open_page(tmp_path / "review.html")
    assert save_labels(again, tmp_path / "labels.csv")[1:] == [rows[0], rows[2]]


def test_names_that_look_like_markup_are_text(tmp_path: Path, open_page: Open) -> None:
    classes = ["<script>alert(1)</script>", "</script>", "spiral"]
    page = open_page(write_review(tmp_path / "review.html", classes, why=["<b>why</b>"] * len(IDS)))
    assert page.title() == "<b>tiny</b>"
    for name in IDS:
        assert shown(page) == name
        page.keyboard.press("1")
    assert page.locator("img, b, script:not(#data ~ *, #data)").count() == 0
    assert page.locator("#keys button[data-label]").first.text_content() == f"1 {classes[0]}"
    assert save_labels(page, tmp_path / "labels.csv")[1:] == [[name, classes[0]] for name in IDS]


def test_every_class_has_a_key_and_more_classes_are_refused(tmp_path: Path, open_page: Open) -> None:
    assert len(set(KEYS)) == len(KEYS) == 33
    assert not set(KEYS) & set("uz")
    classes = [f"class {i}" for i in range(len(KEYS))]
    page = open_page(write_review(tmp_path / "review.html", classes))
    page.keyboard.press("q")
    page.keyboard.press("m")
    assert save_labels(page, tmp_path / "labels.csv")[1:] == [[IDS[0], "class 9"], [IDS[1], "class 32"]]
    with pytest.raises(ValueError, match="34 classes, at most 33 have a key"):
        write_review(tmp_path / "more.html", [*classes, "one more"])
