"""Calibration of predictions on held-out objects."""
