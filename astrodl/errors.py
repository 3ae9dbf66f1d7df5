"""Errors that a user can fix.

Whatever a user can fix raises an `AstrodlError` with a one-line message that says, in this order, what was wrong (with
the file, key or column, and the value), what is accepted, and what to do. The command line prints that line and exits
with status 2. Everything else is a bug in astrodl and keeps its traceback; `assert` checks internal invariants.
"""

__all__ = ["AstrodlError", "ConfigError", "DataError", "StoreError"]


class AstrodlError(Exception):
    """An error that the user can fix; its message is one line that says how."""


class ConfigError(AstrodlError):
    """A configuration key is unknown, has the wrong type or is out of range."""


class DataError(AstrodlError):
    """A catalogue or image cannot be used as configured."""


class StoreError(AstrodlError):
    """A store, model or predictions file is missing, damaged or of the wrong type."""
