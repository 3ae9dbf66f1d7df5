"""Figures: arrays in, `matplotlib.figure.Figure` out; one file per subject, one style for all."""
