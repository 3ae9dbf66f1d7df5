"""What `astrodl ingest` does not do for the surveys of a study: labels of their own, and a store of the test objects.

``python surveys.py settings NAME SECTION OUT`` writes the settings of `astrodl ingest` from the section of a survey,
and beside a simulated catalogue `labels.fits`, the catalogue with more labels. ``python surveys.py test SECTION STORE
OUT`` copies the test objects of a store, or the first `n_test` of them, into another one.
"""

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.table import Table

from astrodl import open_store
from astrodl.atomic import replacing, write_json
from astrodl.config import SimulateSettings
from astrodl.simulator.survey import data_settings
from astrodl.store.layout import dataset_digest, list_datasets

N_FEW = 300
"""Training objects that keep their class in `class_few`."""
RARE = ("elliptical", "lenticular", "merger")
"""Classes that lose nine in ten labels in `class_rare`."""
MAX_INCLINATION = 60.0
"""Inclination in degrees up to which the winding of the arms can be seen."""


def few_and_rare(catalog: Table) -> None:
    """Add `class_few`, the class of few objects, and `class_rare`, with few labels of the `RARE` classes."""
    order = np.random.default_rng(0).permutation(len(catalog))
    catalog["class_few"], catalog["class_rare"] = catalog["class"], catalog["class"]
    catalog["class_few"][order[N_FEW * 10 // 7 :]] = ""
    thinned = np.isin(catalog["class"].astype(str), RARE)
    thinned[order[: len(catalog) // 10]] = False
    catalog["class_rare"][thinned] = ""


def handedness(catalog: Table) -> None:
    """Add `hand`, the winding of the arms, empty where the disk is seen from the side."""
    visible = np.asarray(catalog["inclination"]) < MAX_INCLINATION
    catalog["hand"] = np.where(visible, catalog["winding"].astype(str), "")


LABELS = {"few_and_rare": few_and_rare, "handedness": handedness}


def write_settings(name: str, section: dict[str, Any], out: Path) -> None:
    """Write the settings of `astrodl ingest`; a simulated survey lies in the folder `simulated` beside them."""
    if "data" in section:
        write_json(out, {"survey": name, "data": section["data"], "split": section.get("split", {})})
        return
    folder = out.parent / "simulated"
    data = data_settings(SimulateSettings(**section["simulate"]), folder)
    if "labels" in section:
        table = Table.read(folder / "catalog.fits")
        LABELS[section["labels"]](table)
        table.write(folder / "labels.fits", overwrite=True)
        columns = {column: column for column in table.colnames if column not in ("object_id", "ra", "dec")}
        data = data.model_copy(update={"catalog": "labels.fits", "columns": columns})
    write_json(out, {"survey": "candels", "data": data.model_dump(mode="json"), "split": section.get("split", {})})


def write_test_store(store: Path, out: Path, n_test: int | None) -> None:
    """Copy test objects into a store, so that networks predict no others."""
    with open_store(store) as reader:
        rows = reader.select("test")[:n_test]
    copy_objects(store, rows, out)


def copy_objects(store: Path, rows: np.ndarray, out: Path) -> None:
    """Copy objects of a store, at sorted rows, into another one."""
    with replacing(out) as temporary, h5py.File(store) as source, h5py.File(temporary, "w") as target:
        target.attrs.update(source.attrs)
        for name, dataset in list_datasets(source):
            copied = target.create_dataset(name, data=dataset[rows], dtype=dataset.dtype)
            copied.attrs.update(dataset.attrs)
            copied.attrs["sha256"] = dataset_digest(copied)


if __name__ == "__main__":
    if sys.argv[1] == "settings":
        write_settings(sys.argv[2], json.loads(sys.argv[3]), Path(sys.argv[4]))
    else:
        write_test_store(Path(sys.argv[3]), Path(sys.argv[4]), json.loads(sys.argv[2]).get("n_test"))
