"""Path templates: which fields and formats they accept."""

from typing import Any

import pytest

from astrodl.config import IngestSettings, parse
from astrodl.config.templates import template_fields
from astrodl.errors import ConfigError

DATA: dict[str, Any] = {"catalog": "c.fits", "layout": "files", "path": "{id}_{band}.fits", "bands": [{"name": "g"}]}


def parse_data(**data: Any) -> IngestSettings:
    return parse(IngestSettings, {"survey": "toy", "data": DATA | data})


@pytest.mark.parametrize(
    ("template", "fields"),
    [
        ("a.fits", set()),
        ("{id}.fits", {"id"}),
        ("{tile:.3}/{id:0>18}_{band}.fits", {"tile", "id", "band"}),
        ("{E(B-V)}{{x}}.fits", {"E(B-V)"}),
    ],
)
def test_fields_of_templates(template: str, fields: set[str]) -> None:
    assert template_fields(template) == fields


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("images/{id.fits", "expected '}'"),
        ("{id:z}.fits", "format 'z' is not for text; write {id:0>4}"),
        ("{id:04d}.fits", "write {id:0>4}"),
        ("{id:0>1000000000}.fits", "format '0>1000000000' is"),
        ("{id:0>999}.fits", "too wide, at most 255"),
        ("{id:.999}.fits", "too wide"),
        ("{id:{width}}.fits", "is not for text"),
        ("{id:>" + "9" * 5000 + "}.fits", "is not for text"),
        ("{id.__class__}.fits", "is no column"),
        ("{id[0]}.fits", "is no column"),
        ("{id!r}.fits", "is no column"),
        ("{}.fits", "is no column"),
    ],
)
@pytest.mark.parametrize("key", ["path", "extension"])
def test_fields_that_are_no_text_of_a_column_or_too_wide_are_refused(template: str, message: str, key: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_data(**{key: template})


def test_templates_of_planes_and_labels_are_checked_too() -> None:
    wide = "{id:0>9999}.fits"
    for data in ({"noise": {"path": wide}}, {"masks": [{"extension": wide}]}, {"psf": {"replace": ["_{", "{x!r}{"]}}):
        with pytest.raises(ConfigError, match=r"too wide|no column"):
            parse_data(**data)
    with pytest.raises(ConfigError, match="too wide"):
        parse_data(labels={"path": wide, "extensions": {"bulge": 1}})


@pytest.mark.parametrize(
    "data", [{"size": 8192}, {"size": 10**12}, {"rebin": 10**6}, {"psf": {"path": "p.fits", "size": 10**6}}]
)
def test_sizes_have_a_limit(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="less than or equal to"):
        parse_data(**data)


@pytest.mark.parametrize(
    "data",
    [
        {"path": "{id}.fits"},
        {"path": "{id}.fits", "extension": "SCI"},
        {"layout": "cube", "bands": [{"name": "g", "plane": 1}, {"name": "r"}]},
        {"layout": "extensions", "extension": "SCI"},
        {"bands": [{"name": "g", "path": "a.fits"}, {"name": "r", "path": "a.fits"}]},
    ],
)
def test_two_bands_from_the_same_pixels_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="bands g and r are the same image"):
        parse_data(**{"path": "{id}.fits", "bands": [{"name": "g"}, {"name": "r"}], **data})


def test_pictures_have_no_noise_masks_or_psf() -> None:
    for key, value in (("noise", {"path": "n.fits"}), ("masks", [{"path": "m.fits"}]), ("psf", {"path": "p.fits"})):
        with pytest.raises(ConfigError, match="layout rgb has no `noise`, `masks` or `psf`"):
            parse_data(layout="rgb", **{key: value})
