"""Figures of arrays, as `matplotlib.figure.Figure`; one module per subject, in one style."""
