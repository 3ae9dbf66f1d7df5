"""Measure how fast a browser draws the map of a survey, and the size of the page.

``python pages.py map.html`` moves the map for five seconds in a headless Chromium, which draws with the processor
alone, and prints the frames per second, and the time of drawing: the shortest, which no other process disturbed, and
the median.
A browser draws at most 60 frames/s; what it can draw in less than 16 ms, it draws at that rate.
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

_FRAMES = """() => new Promise((done) => {
  const times = [];
  const step = (now) => {
    const number = times.push(now);
    view.x += 0.003 * (number % 60 < 30 ? 1 : -1);
    draw();
    if (number < 300) requestAnimationFrame(step); else done((1000 * (number - 1)) / (now - times[0]));
  };
  requestAnimationFrame(step);
})"""
_DRAW = """async () => {
  const times = [];
  for (let k = 0; k < 100; k++) {
    const start = performance.now();
    draw();
    context.getImageData(5, 5, 1, 1);
    times.push(performance.now() - start);
    await new Promise((done) => setTimeout(done, 20));
  }
  times.sort((a, b) => a - b);
  return [times[0], times[50]];
}"""


def main(path: Path) -> None:
    """Print size and speed."""
    program = os.environ.get("ASTRODL_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(300_000)
        page.goto(path.resolve().as_uri())
        page.wait_for_selector("body[data-ready]")
        frames, (shortest, median) = page.evaluate(_FRAMES), page.evaluate(_DRAW)
        print(f"{page.evaluate('n')} objects, {path.stat().st_size / 1e6:.1f} MB, {frames:.1f} frames/s")
        print(f"drawing: {shortest:.1f} ms at least, {median:.1f} ms in the median; load {os.getloadavg()[0]:.1f}")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
