"""Write the settings with which `astrodl ingest` reads a simulated survey, with labels that only a study has.

``python labels.py CATALOG SETTINGS OUT [LABELS]``; the catalogue with the labels is `labels.fits` beside CATALOG.
"""

import json
import sys
from pathlib import Path

import numpy as np
from astropy.table import Table

from astrodl.atomic import write_json
from astrodl.config import SimulateSettings
from astrodl.simulator.survey import data_settings

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


def main(catalog: str, settings: str, out: str, labels: str | None = None) -> None:
    folder = Path(catalog).parent
    data = data_settings(SimulateSettings(**json.loads(settings)), folder)
    if labels is not None:
        table = Table.read(catalog)
        LABELS[labels](table)
        table.write(folder / "labels.fits", overwrite=True)
        columns = {name: name for name in table.colnames if name not in ("object_id", "ra", "dec")}
        data = data.model_copy(update={"catalog": "labels.fits", "columns": columns})
    write_json(Path(out), {"survey": "candels", "data": data.model_dump(mode="json")})


if __name__ == "__main__":
    main(*sys.argv[1:])
