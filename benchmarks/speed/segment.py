"""Time and peak memory of `astrodl segment` on a mosaic that is tiled with the galaxies of a store.

    python benchmarks/speed/segment.py MODEL STORE --side 4000 --record

`--record` copies the result into docs/tasks/segmentation.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits

from astrodl import load_model, open_store
from astrodl.tasks.segmentation import Segmentation

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
from generate import write_block  # noqa: E402

CHILD = """
import json, sys, time
from astrodl import cli
start, used = time.perf_counter(), time.process_time()
status = cli.main(sys.argv[1:])
wall, used = time.perf_counter() - start, time.process_time() - used
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"wall": wall, "cpu": used, "peak": 1024 * int(peak.split()[1])}))
sys.exit(status)
"""


def write_mosaic(store: Path, bands: tuple[str, ...], side: int, out: Path) -> None:
    """Write a field of (side, side) pixels with an extension per band, row by row of stamps."""
    with open_store(store) as reader:
        size, n_rows = reader.size, -(-side // reader.size)
        mosaic = np.empty((len(bands), n_rows * size, n_rows * size), np.float32)
        numbers = reader.band_indices(list(bands))
        for row in range(n_rows):
            chosen = np.arange(row * n_rows, (row + 1) * n_rows) % len(reader.object_id)
            order = np.unique(chosen)
            images = np.nan_to_num(reader.images(order)[:, numbers][np.searchsorted(order, chosen)])
            mosaic[:, row * size : (row + 1) * size] = np.moveaxis(images, 0, 2).reshape(len(bands), size, -1)
        zero_point = {"uJy": 23.9}[reader.unit]
    hdus = [fits.PrimaryHDU()]
    for name, plane in zip(bands, mosaic[:, :side, :side], strict=True):
        hdus.append(fits.ImageHDU(plane, name=name))
        hdus[-1].header["MAGZERO"] = zero_point
    fits.HDUList(hdus).writeto(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--side", type=int, default=4000, help="side of the mosaic in pixels (default: 4000)")
    parser.add_argument("--record", action="store_true", help="write the result into docs/")
    options = parser.parse_args()
    task = load_model(options.model, device="cpu").task
    assert isinstance(task, Segmentation)
    bands, side = task.context.bands, options.side
    with tempfile.TemporaryDirectory() as folder:
        image, out = Path(folder, "mosaic.fits"), Path(folder, "out.fits")
        write_mosaic(options.store, bands, side, image)
        command = ["segment", str(options.model), str(image), "--out", str(out), "--device", "cpu", "--threads", "1"]
        done = subprocess.run([sys.executable, "-c", CHILD, *command], check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    text = (
        f"A mosaic of {side:,} by {side:,} pixels in {len(bands)} bands, {task.settings.views} views, one thread: "
        f"{found['cpu']:.0f} s of CPU time, {found['peak'] / 1e9:.1f} GB at most; {1 / found['cpu']:.4f} mosaics, or "
        f"{(side / 64) ** 2 / found['cpu']:.0f} cutouts of 64 by 64 pixels, in a second. Written by `python "
        "benchmarks/speed/segment.py MODEL STORE --record`."
    )
    print(text)
    if options.record:
        page = ROOT / "docs" / "tasks" / "segmentation.md"
        page.write_text(write_block(page.read_text("utf-8"), "speed-mosaic", text), "utf-8")


if __name__ == "__main__":
    main()
