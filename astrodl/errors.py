"""Errors that a user can mend.

Policy: whatever a user can mend raises an `AstrodlError` whose one-line message says, in this order, what was wrong
(naming the file, key or column, and the value), what is accepted, and what to do. The command line prints that line
and exits with status 2. Everything else is a defect of astrodl and keeps its traceback; `assert` is for our invariants.
"""


class AstrodlError(Exception):
    """Something the user can mend; the message is one line that says how."""


class ConfigError(AstrodlError):
    """A configuration key is unknown, has a wrong type or lies outside its range."""


class DataError(AstrodlError):
    """A catalogue or image cannot be used as the configuration asks."""


class StoreError(AstrodlError):
    """A store, model or predictions file is missing, damaged or of another kind than expected."""
