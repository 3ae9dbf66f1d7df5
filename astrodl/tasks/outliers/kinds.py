"""Known oddities: which objects are trained on, and which count."""

import numpy as np

from astrodl.errors import ConfigError
from astrodl.store import SPLITS, Reader
from astrodl.tasks.base import Arrays
from astrodl.tasks.catalog_columns import name_kinds
from astrodl.tasks.outliers.settings import OutlierSettings

__all__ = ["leave_out", "read_oddities"]


def leave_out(settings: OutlierSettings, store: Reader, indices: np.ndarray) -> np.ndarray:
    """Select all objects; of training and validation without the kinds in `exclude`.

    Raises
    ------
    ConfigError
        The store has no object of a kind in `exclude`.
    """
    if not settings.exclude:
        return indices
    if not store.has_column(settings.target):
        raise ConfigError(
            f"tasks.outliers.exclude: {store.path} has no column '{settings.target}' (tasks.outliers.target) with "
            "the kinds; name the column that has them, or leave exclude out"
        )
    kinds = name_kinds(store.column(settings.target))
    known = sorted(set(kinds.tolist()) - {""})
    if unknown := sorted(set(settings.exclude) - set(known)):
        raise ConfigError(
            f"tasks.outliers.exclude: '{unknown[0]}' is not in column '{settings.target}' of {store.path} (has "
            f"{', '.join(known[:20]) or 'none'}); correct the name"
        )
    is_test = store.split[indices] == SPLITS.index("test")
    return indices[is_test | ~np.isin(kinds[indices], settings.exclude)]


def read_oddities(settings: OutlierSettings, store: Reader, indices: np.ndarray) -> Arrays:
    """Read the kind of oddity, empty for none; only those of `exclude` where it is given."""
    if not store.has_column(settings.target):
        return {}
    kinds = name_kinds(store.column(settings.target, indices))
    return {"oddity": np.where(np.isin(kinds, settings.exclude), kinds, "") if settings.exclude else kinds}
