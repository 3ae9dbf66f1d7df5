"""Photometry and morphology of images: functions on arrays."""
