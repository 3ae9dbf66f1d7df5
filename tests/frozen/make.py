"""Freeze the files that this version writes: `python -m tests.frozen.make` writes tests/frozen/VERSION.zip.

Run it once, at the release of a version, and never again for that version: `test_frozen.py` opens and uses the files of
all versions. Networks are as small as they come; of the store that they are trained on, six objects are kept.
"""

import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import astrodl
from astrodl import tasks
from tests import small_store
from tests.small_task import small_settings

FOLDER = Path(__file__).parent
N_OBJECTS, SIZE = 6, 16
SMALLER: dict[str, dict[str, Any]] = {
    "photoz": {"widths": [4, 8], "joint": [8]},
    "morphology": {"widths": [4, 8], "joint": [8]},
    "votes": {"widths": [4, 8], "joint": [8]},
    "segmentation": {"widths": [4, 8], "n_bins": 4},
    "latent": {"view": 8, "widths": [4, 8], "dimensions": 2},
    "outliers": {"widths": [4, 4], "critic_widths": [4, 4], "latent": 2},
}


def freeze(folder: Path) -> None:
    """Write a store, and a model, predictions and products of every task."""
    small_store.SIZE = SIZE
    store = small_store.write_store(folder / "store.h5", N_OBJECTS, all_test=True)
    with tempfile.TemporaryDirectory() as scratch:
        trained = small_store.write_store(Path(scratch) / "store.h5")
        for name in tasks.NAMES:
            model = astrodl.train(
                name, trained, folder / name, settings=small_settings(name) | SMALLER[name], progress=False
            )
            astrodl.predict(name, store, [model], folder / name / "predictions.h5")
    for path in [*folder.rglob("history.jsonl"), *folder.rglob("progress/*.png")]:
        path.unlink()
    predictions = [folder / name / "predictions.h5" for name in tasks.NAMES]
    astrodl.catalog(store, predictions, folder / "catalog.fits")
    astrodl.product("photoz", store, folder / "photoz" / "predictions.h5", folder / "photoz_pdf.hdf5")


def main() -> None:
    out = FOLDER / f"{astrodl.__version__}.zip"
    if out.exists():
        sys.exit(f"{out}: exists; files of a version are frozen once")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        freeze(folder)
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                archive.write(path, path.relative_to(folder))
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
