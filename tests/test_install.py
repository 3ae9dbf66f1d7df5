"""The pinned versions can be installed by every Python that the package supports."""

import tomllib
from importlib import metadata

from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT


def test_pins_accept_the_oldest_supported_python() -> None:
    # Distributions ship old patch releases: Debian 12 has Python 3.11.2.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    refusing, seen = {}, 0
    for installed in metadata.distributions():
        if pins.get(installed.name.lower()) == installed.version:
            seen += 1
            needed = installed.metadata.get("Requires-Python") or ""
            if oldest not in SpecifierSet(needed):
                refusing[installed.name] = needed
    assert seen > 50
    assert refusing == {}
