"""The morphology study of docs/tasks/morphology.md: accuracy over seeds, architectures, noise, few labels, votes.

`python benchmarks/morphology.py FOLDER --jobs 2 --record` simulates a survey of 10,000 galaxies of `candels` with votes
of volunteers, trains every network of the study on CPUs, one thread each, measures all on the test split beside the
classical methods, and writes tables and figures into the documentation. What is done is kept in FOLDER: run it again to
go on.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from study import DOCS, Arrays, Job, keep, make_survey, mean_and_spread, read, run_jobs, write_page

from astrodl.baselines import morphology as methods
from astrodl.config import parse
from astrodl.dataset import Cutouts, Direct
from astrodl.store import Reader
from astrodl.survey.photometry import structural_features
from astrodl.tasks import run
from astrodl.tasks.base import scale_free_features
from astrodl.tasks.model import load_model
from astrodl.tasks.morphology import COVERAGES, Morphology

SURVEYS = {"main": {"n_objects": 10000, "seed": 1, "votes": 40}}
SEEDS = range(5)
RIVALS = {
    "forest": (methods.forest, scale_free_features),
    "svm": (methods.svm, scale_free_features),
    "mlp": (methods.mlp, scale_free_features),
    "forest_no_colour": (methods.forest, structural_features),
}
