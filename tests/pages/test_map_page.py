"""The map in a headless browser, with real movements of the pointer; names that look like markup stay text."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astrodl.pages.map import map_page
from astrodl.pages.sprites import make_sprites
from astrodl.products import Column

N = 60
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--",
    "a\"b'c&amp;d",
    "__proto__",
    "line\nbreak,comma",
    "\u2028\u202e",
]
IDS = [*HOSTILE, *(f"T{i}" for i in range(N - len(HOSTILE)))]
CLASSES = ["<b>spiral</b>", "elliptical", "merger"]

Open = Callable[[Path], Any]


def write_map(path: Path, *, n_dimensions: int = 3) -> Path:
    """Write a map on a 10 by 6 grid; the neighbours by vectors are the next numbers, not the next places."""
    number = np.arange(N)
    position = np.column_stack([number % 10, number // 10]).astype(float)
    vectors = np.column_stack([number, *[np.zeros(N)] * (n_dimensions - 1)])
    z = np.where(number == 3, np.nan, number / 10.0)
    columns = [
        Column("class", np.array(CLASSES)[number % 3], None, "class of the <i>galaxy</i>"),
        Column("z", z, None, "redshift"),
        Column("size", number.astype(np.float32), "arcsec", "size"),
        Column("is_odd", number % 2 == 1, None, "odd numbers"),
        Column("pair", np.zeros((N, 2)), None, "left out"),
    ]
    images = np.zeros((N, 32, 32, 3))
    images[:] = (number / N)[:, None, None, None]
    sprites = make_sprites([images[:25], images[25:]], N, side=32, max_bytes=10**6)
    options = {"title": "tiny <map>", "about": "a & b", "colour": ("absent", "class"), "brief": ("z", "absent")}
    path.write_text(map_page(IDS, position, vectors, columns, sprites, **options), "utf-8")
    return path


def place_of(page: Any, i: int) -> tuple[float, float]:
    x, y = page.evaluate(f"[screenX({i}), screenY({i})]")
    return x, y


@pytest.fixture
def page(tmp_path: Path, open_page: Open) -> Any:
    return open_page(write_map(tmp_path / "map.html"))


def test_an_object_under_the_pointer_is_shown_with_its_numbers(page: Any) -> None:
    page.mouse.move(*place_of(page, 1))
    assert page.locator("#tip .id").inner_text() == IDS[1]
    cells = page.locator("#tip td").all_inner_texts()
    assert dict(zip(cells[::2], cells[1::2], strict=True)) == {"class": "elliptical", "z": "0.1"}
    shade = page.evaluate(
        "[...document.querySelector('#tip canvas').getContext('2d').getImageData(100, 100, 1, 1).data]"
    )
    assert abs(shade[0] - 255 / N) < 3
    page.mouse.move(*place_of(page, 45))
    assert page.locator("#tip .id").inner_text() == IDS[45]
    page.mouse.move(2, 2)
    assert page.locator("#tip").is_hidden()


def test_names_that_look_like_markup_are_text(page: Any) -> None:
    assert page.title() == "tiny <map>"
    assert page.locator("#title").inner_text() == "tiny <map>"
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == 0
    for i, name in enumerate(HOSTILE):
        page.mouse.click(*place_of(page, i))
        assert page.locator("#details .id").text_content() == name
    legend = page.locator("#legend .class span").all_text_contents()
    assert sorted(legend) == sorted(CLASSES)
    assert page.locator("#legend b").count() == 3  # the counts, and no name


def test_a_class_colours_the_map_and_can_be_hidden(page: Any) -> None:
    assert page.locator("#colour option").all_inner_texts() == ["class", "z", "size", "is_odd"]
    assert page.locator("#legend b").all_inner_texts() == ["20", "20", "20"]
    page.uncheck("#images")
    x, y = place_of(page, 4)  # elliptical

    def shade() -> list[int]:
        page.evaluate("draw()")
        return page.evaluate(f"[...context.getImageData({x} * ratio, {y} * ratio, 1, 1).data]")

    before = shade()
    page.locator("#legend .class", has_text="elliptical").click()
    assert max(before[:3]) > 150
    assert shade()[:3] == [14, 17, 22]  # the ground
    page.mouse.move(x, y)
    assert page.locator("#tip").is_hidden()


def test_few_objects_are_drawn_as_images_in_the_colour_of_their_class(page: Any) -> None:
    def shade(i: int, offset: int) -> list[int]:
        x, y = place_of(page, i)
        page.evaluate("draw()")
        return page.evaluate(f"[...context.getImageData({x + offset} * ratio, {y} * ratio, 1, 1).data]")[:3]

    assert np.ptp(shade(45, 0)) < 6  # the image is grey
    assert shade(45, 0)[0] == pytest.approx(255 * 45 / N, abs=4)
    assert shade(45, 25) == [0x56, 0xB4, 0xE9]  # the first class has the first colour
    page.uncheck("#images")
    assert shade(45, 25) == [14, 17, 22]


def test_numbers_colour_the_map_from_the_second_to_the_98th_percentile(page: Any) -> None:
    page.select_option("#colour", label="z")
    assert page.locator("#legend .ends span").all_inner_texts() == ["0.1", "5.8"]
    assert "1 without a value" in page.locator("#legend p").inner_text()
    colours = page.evaluate("Array.from(colourOf)")
    assert colours[3] == 64
    assert colours[59] == 63
    assert colours[0] == 0
    expected = [min(max(int((i / 10 - 0.1) / 5.7 * 64), 0), 63) for i in range(N)]
    assert all(abs(colours[i] - expected[i]) <= 1 for i in range(N) if i != 3)


def test_a_click_shows_the_neighbours_by_vector(page: Any) -> None:
    page.mouse.click(*place_of(page, 20))
    shown = page.locator("#neighbours button").evaluate_all("buttons => buttons.map(one => one.dataset.id)")
    assert shown[0] == IDS[20]
    assert sorted(IDS.index(name) for name in shown[:11]) == list(range(15, 26))
    assert len(shown) == 12
    page.locator("#neighbours button").nth(1).click()
    assert page.locator("#details .id").inner_text() in (IDS[19], IDS[21])
    page.keyboard.press("Escape")
    assert page.locator("#chosen").is_hidden()


def draw_lasso(page: Any, corners: list[tuple[float, float]]) -> None:
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in [*corners[1:], corners[0]]:
        page.mouse.move(*corner, steps=4)
    page.mouse.up()


def around(page: Any, first: int, last: int) -> list[tuple[float, float]]:
    (left, low), (right, high) = place_of(page, first), place_of(page, last)
    margin = 12
    return [
        (left - margin, low + margin),
        (right + margin, low + margin),
        (right + margin, high - margin),
        (left - margin, high - margin),
    ]


@pytest.mark.parametrize("with_key", [False, True])
def test_a_lasso_selects_what_is_inside(page: Any, tmp_path: Path, with_key: bool) -> None:
    if with_key:
        page.keyboard.down("Shift")
    else:
        page.click("#lasso")
    draw_lasso(page, around(page, 0, 15))
    page.keyboard.up("Shift")
    expected = [IDS[i] for i in (*range(6), *range(10, 16))]
    assert page.locator("#ids").input_value() == "\n".join(expected)
    assert page.locator("#count").inner_text() == "12 objects selected"
    with page.expect_download() as download:
        page.click("#csv")
    download.value.save_as(tmp_path / "selection.csv")
    with open(tmp_path / "selection.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["object_id"], *([name] for name in expected)]
    page.click("#clear")
    assert page.locator("#ids").input_value() == ""


def test_drag_moves_and_the_wheel_keeps_the_place_under_the_pointer(page: Any) -> None:
    x, y = place_of(page, 22)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(50)
    assert place_of(page, 22) == pytest.approx((x, y), abs=2)  # events of the wheel have whole pixels
    x, y = place_of(page, 22)
    page.mouse.move(x, y)
    assert page.evaluate("screenX(23) - screenX(22)") > 100
    page.mouse.down()
    page.mouse.move(x + 40, y - 30, steps=3)
    page.mouse.up()
    assert place_of(page, 22) == pytest.approx((x + 40, y - 30), abs=0.5)
    page.locator("#find").fill(IDS[59])
    page.locator("#find").press("Enter")
    assert page.locator("#details .id").inner_text() == IDS[59]


def test_a_map_without_images_shows_the_numbers(tmp_path: Path, open_page: Open) -> None:
    number = np.arange(3.0)
    columns = [Column("z", number, None, "redshift")]
    text = map_page(["a", "b", "c"], np.column_stack([number, number]), number[:, None], columns, title="table")
    (tmp_path / "map.html").write_text(text, "utf-8")
    page = open_page(tmp_path / "map.html")
    page.mouse.click(*place_of(page, 1))
    assert page.locator("#details td").all_inner_texts() == ["z", "1"]
    assert page.locator("#neighbours span").all_inner_texts() == ["b", "a", "c"]
