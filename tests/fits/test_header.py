"""The layout cache: a file with a known skeleton is not parsed again, which must not change the result."""

import io

import numpy as np
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from astrodl.fits import UnreadableError, header, open_fits, zero_point

KEYWORDS = ["BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "GROUPS", "EXTNAME", "EXTVER", "BSCALE", "BZERO"]
KEYWORDS += ["BLANK", "ZIMAGE", "ZNAXIS", "MAGZERO", "CRVAL1", "COMMENT", "END", ""]
VALUES = [
    "T",
    "F",
    "0",
    "1",
    "2",
    "3",
    "4",
    "8",
    "-32",
    "16",
    "-1",
    "1.5D0",
    "'g'",
    "'SCI     '",
    "'it''s'",
    "''",
    "x",
    "",
]

cards = st.tuples(st.integers(0, 60), st.sampled_from(KEYWORDS), st.sampled_from(["= ", "  ", " =", "=  "]))
Change = tuple[tuple[int, str, str], str, str]
changes = st.lists(st.tuples(cards, st.sampled_from(VALUES), st.sampled_from(["", " / a comment"])), max_size=4)


def survey_file(ra: float = 1.0) -> bytes:
    """Write a file with two bands."""
    images = [fits.ImageHDU(np.full((4, 3), value, np.float32), name=name) for value, name in enumerate("gr", 1)]
    for image in images:
        image.header.update({"CRVAL1": ra, "MAGZERO": 20.0 + ra})
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(buffer)
    return buffer.getvalue()


def outcome(data: bytes, *, parse: bool) -> object:
    """Return the HDUs, or the reason of a refusal."""
    try:
        return (header.parse_layout(data)[0] if parse else header.find_layout(data)).hdus
    except UnreadableError as error:
        return str(error)


@given(changes)
@settings(max_examples=300, deadline=None)
def test_the_cache_returns_the_parsed_layout_for_any_cards(
    altered: list[Change],
) -> None:
    good = survey_file()
    damaged = bytearray(good)
    starts = [start for start in range(0, len(good), 80) if start // 2880 in (0, 1, 3)]
    for (number, keyword, sign), value, comment in altered:
        start = starts[number % len(starts)]
        damaged[start : start + 80] = f"{keyword:<8}{sign}{value:>20}{comment}".encode().ljust(80)[:80]
    header._known_layouts.clear()
    outcome(good, parse=False)
    for _ in range(2):  # first with the good file in the cache, then from its own entry
        assert outcome(bytes(damaged), parse=False) == outcome(bytes(damaged), parse=True)


def test_values_are_read_from_each_file() -> None:
    header._known_layouts.clear()
    files = [open_fits(survey_file(ra)) for ra in (1.0, 2.0)]
    assert files[0].find("g").layout is files[1].find("g").layout
    for file, ra in zip(files, (1.0, 2.0), strict=True):
        assert zero_point(file.find("g"), file.primary) == 20 + ra
        assert file.find("g").header["CRVAL1"] == ra


def test_another_structure_card_makes_another_layout() -> None:
    header._known_layouts.clear()
    data = survey_file()
    other = data.replace(b"EXTNAME = 'R       '", b"EXTNAME = 'I       '")
    assert open_fits(data).images == ["G", "R"]
    assert open_fits(other).images == ["G", "I"]
    assert open_fits(data).images == ["G", "R"]


def test_an_invalid_end_card_makes_another_layout() -> None:
    """The rest of an END card must be blank; only its last byte differs here."""
    header._known_layouts.clear()
    data = survey_file()
    end = data.index(b"END" + b" " * 77)
    other = data[: end + 79] + b"x" + data[end + 80 :]
    assert len(open_fits(data).hdus) == 3
    assert len(open_fits(other).hdus) == 1  # the header continues to the next END, and no header follows


def test_the_cache_has_a_maximum_size() -> None:
    header._known_layouts.clear()
    for size in range(40):
        buffer = io.BytesIO()
        fits.PrimaryHDU(np.zeros((2 * size + 1, 720), np.float32)).writeto(buffer)
        open_fits(buffer.getvalue())
    assert len(header._known_layouts) <= header._MAX_LAYOUTS


def test_incomplete_files_are_not_cached() -> None:
    header._known_layouts.clear()
    header.find_layout(survey_file()[:-2850])
    header.find_layout(survey_file() + b"after the end")
    assert not header._known_layouts
