"""Metrics: pure functions on arrays, a file per subject.

Predictions come first and truth second (`segmentation` alone takes truth first). A function returns either one number,
and is then a statistic for `bootstrap`, or one value per object, whose mean is the metric; the docstring says which.
What cannot be measured is refused (`ValueError`: NaN predictions, no objects) or NaN (no positive example, no clump).
"""
