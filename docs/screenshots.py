"""Take the pictures of the HTML pages in `docs/images`, in a headless browser.

`python docs/screenshots.py results/demo` writes the pages of a survey and photographs them.
"""

import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

import astrodl

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1320, "height": 820}

CENTRAL = """() => {
  const places = Array.from({length: position.length / 2}, (_, i) => [screenX(i), screenY(i)]);
  const middle = axis => places.map(place => place[axis]).sort((a, b) => a - b)[places.length >> 1];
  const [x, y] = [middle(0), middle(1)], distance = place => Math.hypot(place[0] - x, place[1] - y);
  return places.reduce((best, place) => distance(place) < distance(best) ? place : best);
}"""
"""Where the most central object of the map is."""


def main(results: Path) -> None:
    """Write and photograph the pages."""
    program = os.environ.get("ASTRODL_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(300_000)
        found = sorted(results.glob("*/predictions.h5"))
        open_file(page, astrodl.map(results / "store.h5", found, Path(folder) / "map.html"))
        take_map(page)
        open_file(page, astrodl.review(results, out=Path(folder) / "review.html"))
        for key in "12331121":
            page.keyboard.press(key)
        save(page, "review")
        browser.close()


def open_file(page: Any, path: Path) -> None:
    """Open a page and wait for its images."""
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("body[data-ready]")


def take_map(page: Any) -> None:
    """Photograph the map with an object under the pointer, and galaxies from near."""
    x, y = page.evaluate(CENTRAL)
    page.mouse.click(x, y)
    page.mouse.move(x + 1, y)
    save(page, "map")
    page.keyboard.press("Escape")
    page.mouse.move(x + 60, y)
    while (
        page.evaluate("position.filter((_, i) => i % 2 === 0 && isInside(screenX(i / 2), screenY(i / 2), 0)).length")
        > 80
    ):
        page.mouse.wheel(0, -100)
        page.wait_for_timeout(100)
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)
    save(page, "map-images")


def save(page: Any, name: str) -> None:
    """Write a picture of what the browser shows."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(IMAGES / f"{name}.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
