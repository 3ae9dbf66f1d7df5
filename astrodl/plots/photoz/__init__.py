"""Figures of the photometric redshifts."""
