"""Fluxes, structure and sky level: functions on arrays."""
