"""Evaluation of any photometric redshifts: true redshifts and p(z) are enough.

import astrodl
report = astrodl.photoz.evaluate(z_true, "estimate.hdf5")      # a file of qp, as written by RAIL
report["metrics"]["sigma_mad"]                                  # {"value": 0.021, "error": 0.001}
rows = astrodl.photoz.trends(z_true, pdf, edges, against=magnitude)     # the same in bins of a quantity
rows = astrodl.photoz.tomography(z_true, pdf, edges)            # mean redshifts of tomographic bins
"""

from astrodl.photoz.bins import tomography, trends
from astrodl.photoz.report import POINT_METRICS, evaluate

__all__ = ["POINT_METRICS", "evaluate", "tomography", "trends"]
