"""A headless browser for the tests of pages; without one they are skipped."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium or Chrome on the path, or that of ASTRODL_CHROMIUM, driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason='no playwright: pip install ".[test]"')
    given = os.environ.get("ASTRODL_CHROMIUM")
    found = given or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no browser: install Chromium, or name one in ASTRODL_CHROMIUM")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[[Path], Any]]:
    """A function that opens a page of a file; messages of errors and requests to the network fail the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    context.set_default_timeout(120_000)
    wrong: list[str] = []

    def open_file(path: Path) -> Any:
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on(
            "request", lambda request: wrong.append(request.url) if request.url.startswith(("http", "ws")) else None
        )
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_file
    context.close()
    assert not wrong
