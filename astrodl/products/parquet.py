"""pyarrow, which is optional."""

from typing import Any

from astrodl.errors import DataError

__all__ = ["import_parquet"]


def import_parquet() -> Any:
    """Import `pyarrow.parquet`.

    Raises
    ------
    DataError
        pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError("Parquet files need pyarrow; install it with: pip install pyarrow") from None
    return parquet
