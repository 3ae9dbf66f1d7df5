"""What a page holds: columns, numbers, images."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from astrodl.pages.document import document, encode_columns, encode_numbers
from astrodl.pages.sprites import make_sprites
from astrodl.products import Column


def test_columns_of_all_types_are_encoded() -> None:
    columns = [
        Column("number", np.array([1.5, np.nan, np.inf]), "mag", "a number"),
        Column("single", np.array([0.1, 0.2, 0.3], np.float32), None, "float32"),
        Column("count", np.ma.array([1, 2, 3], mask=[0, 1, 0]), None, "masked", null=-9),
        Column("text", np.array(["b", "a", "b"]), None, "text"),
        Column("flag", np.array([True, False, True]), None, "truth"),
        Column("none", np.array(["", "", "x"]), None, "mostly missing"),
        Column("array", np.zeros((3, 2)), None, "left out"),
    ]
    encoded = encode_columns(columns)
    assert [column["name"] for column in encoded] == ["number", "single", "count", "text", "flag", "none"]
    assert encoded[0] == {
        "name": "number", "unit": "mag", "about": "a number", "kind": "number", "values": [1.5, None, None],
    }  # fmt: skip
    assert encoded[1]["values"] == [0.1, 0.2, 0.3]
    assert encoded[2]["values"] == [1, None, 3]
    assert (encoded[3]["names"], encoded[3]["values"]) == (["b", "a"], [0, 1, 0])
    assert (encoded[4]["names"], encoded[4]["values"]) == (["yes", "no"], [0, 1, 0])
    assert (encoded[5]["names"], encoded[5]["values"]) == (["x"], [-1, -1, 0])


def test_text_of_many_values_is_not_a_class() -> None:
    (column,) = encode_columns([Column("id", np.array([f"T{i}" for i in range(101)]), None, "identifier")])
    assert column["kind"] == "text"
    assert column["names"][column["values"][7]] == "T7"


def test_numbers_are_little_endian_float32() -> None:
    values = np.array([[1.0, -2.5], [np.pi, 1e30]])
    decoded = np.frombuffer(base64.b64decode(encode_numbers(values)), "<f4")
    np.testing.assert_array_equal(decoded, values.astype(np.float32).ravel())


def test_the_data_of_a_page_cannot_end_its_block() -> None:
    given = {"text": "</script><script>alert(1)</script><!-- & \ud800 \u2028"}
    page = document("<title>", "", given, script="map.js")
    assert page.count("</script>") == 2
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert block
    assert json.loads(block[1]) == given
    assert "<title>&lt;title&gt;</title>" in page
    page.encode()  # half of a surrogate pair would fail


def test_a_page_asks_for_nothing() -> None:
    for script in ("map.js", "review.js"):
        page = document("t", "", {}, script=script)
        assert "default-src 'none'" in page
        assert not re.search(r"https?:|\bfetch\(|XMLHttpRequest|innerHTML|insertAdjacentHTML|document\.write", page)


def read_sheet(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), float) / 255


def test_sprites_hold_the_images_row_by_row_with_the_first_row_of_pixels_below() -> None:
    images = np.zeros((5, 32, 32, 3))
    images += np.linspace(0, 1, 5)[:, None, None, None]
    images[0, :16, :, 0] = 1.0  # the lower half is red
    sprites = make_sprites(iter([images[:2], images[2:]]), 5, side=32, max_bytes=10**6)
    assert (sprites.side, sprites.columns) == (32, 3)
    sheet = read_sheet(sprites.uri)
    assert sheet.shape == (64, 96, 3)
    assert sheet[4, 16].max() < 0.1
    assert sheet[28, 16, 0] > 0.9
    for number in range(1, 5):
        row, column = divmod(number, 3)
        assert sheet[32 * row + 16, 32 * column + 16].mean() == pytest.approx(number / 4, abs=0.02)


def test_sprites_become_smaller_until_they_fit() -> None:
    images = np.random.default_rng(0).random((16, 64, 64, 3))
    large = make_sprites([images], 16, side=64, max_bytes=10**7)
    small = make_sprites([images], 16, side=64, max_bytes=30_000)
    assert large.side == 64
    assert small.side < 64
    assert len(small.uri) <= 30_000 < len(large.uri)


def test_images_of_another_size_are_resized_and_missing_pixels_are_black() -> None:
    images = np.full((1, 20, 20, 3), 0.5)
    images[0, 10:] = np.nan
    sheet = read_sheet(make_sprites([images], 1, side=40, max_bytes=10**6).uri)
    assert sheet.shape == (32, 32, 3)
    assert sheet[4].max() < 0.05
    assert sheet[-4].mean() == pytest.approx(0.5, abs=0.02)
