"""Columns of magnitudes and fluxes of a survey without images: how they are read, and their zero points."""

from collections.abc import Mapping
from pathlib import Path

from astropy.table import Column

from astrodl.config import BandSettings, DataSettings
from astrodl.errors import DataError
from astrodl.fits.units import unit_zero_point
from astrodl.ingestion.columns import ColumnPlan, plan_column
from astrodl.ingestion.meanings import Meaning

__all__ = ["flux_zero_point", "is_calibrated", "plan_photometry"]


def plan_photometry(columns: Mapping[str, Column], data: DataSettings, path: Path) -> dict[str, ColumnPlan]:
    """Decide how the columns of magnitudes or fluxes, their errors and extinctions are read, by role.

    Magnitudes and their errors keep all values, because 99 and -99 do not mean the same.
    """
    plans = {}
    is_magnitude = {band.name: band.magnitude is not None for band in data.bands}
    for role, column in columns.items():
        band, _, kind = role.rpartition(".")
        in_magnitudes = is_magnitude[band] or kind == "extinction"
        missing = data.missing.get(role)
        if missing is None and is_magnitude[band] and kind != "extinction":
            missing = ()
        plans[role] = plan_column(column, path, Meaning("mag" if in_magnitudes else None), missing=missing)
    return plans


def is_calibrated(data: DataSettings, units: Mapping[str, str]) -> bool:
    """Return whether fluxes become microjansky; otherwise they are relative.

    Parameters
    ----------
    data
        The survey.
    units
        Units of the columns of photometry, by role.

    Raises
    ------
    DataError
        If some bands are calibrated and others are not, or flux and error have different units.
    """
    for band in data.bands:
        flux, error = (units.get(f"{band.name}.{kind}", "") for kind in ("flux", "error"))
        if data.error_kind == "sigma" and flux and error and flux != error:
            raise DataError(
                f"column '{band.error}' is in {error}, '{band.flux}' in {flux}, one unit is accepted; convert one"
            )
    unknown = [band.name for band in data.bands if flux_zero_point(band, units) is None]
    if unknown and len(unknown) < len(data.bands):
        raise DataError(
            f"band '{unknown[0]}': its fluxes have no unit such as uJy or nanomaggy, and other bands are calibrated; "
            "give its zero_point"
        )
    return not unknown


def flux_zero_point(band: BandSettings, units: Mapping[str, str]) -> float | None:
    """Return the AB magnitude of one unit of flux; 0 for magnitudes, None if unknown."""
    if band.magnitude is not None:
        return 0.0
    if band.zero_point is not None:
        return band.zero_point
    unit = units[f"{band.name}.flux"]
    return unit_zero_point(unit) if unit else None
