"""Figures of photometric redshifts."""
