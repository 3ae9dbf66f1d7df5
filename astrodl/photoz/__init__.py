"""Judge anybody's photometric redshifts: true redshifts and p(z) are enough, no network of astrodl is needed.

import astrodl
report = astrodl.photoz.evaluate(z_true, "estimate.hdf5")      # a file of qp, as RAIL writes it
report["metrics"]["sigma_mad"]                                  # {"value": 0.021, "error": 0.001}
rows = astrodl.photoz.trends(z_true, pdf, edges, against=magnitude)     # the same in bins of a quantity
rows = astrodl.photoz.tomography(z_true, pdf, edges)            # mean redshifts of tomographic bins
"""

from astrodl.metrics import pdf as of_pdf
from astrodl.metrics import photoz as of_point
from astrodl.photoz.bins import tomography, trends
from astrodl.photoz.report import OF_POINTS, evaluate

__all__ = ["OF_POINTS", "evaluate", "of_pdf", "of_point", "tomography", "trends"]
