"""Templates of paths and extensions: text in which ``{column}`` stands for a value of the catalogue."""

import re
import string
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["MAX_WIDTH", "Template", "template_fields"]

MAX_WIDTH = 255
"""Largest width of a field; no file system accepts longer names."""

_FORMAT = re.compile(r"(?:.?[<>^])?(\d{0,9})(?:\.(\d{1,9}))?s?")


def template_fields(template: str) -> set[str]:
    """Return the names of the fields of a template.

    Values are text: a field accepts fill, alignment, width and largest length, as in ``{id:0>8}`` and ``{id:.3}``.

    Raises
    ------
    ValueError
        If a field is not valid.
    """
    try:
        parts = [part[1:] for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ValueError(f"{error}; write {{column}} or {{band}}") from None
    for name, form, conversion in parts:
        if not name or re.search(r"[.\[\]]", name) or conversion is not None:
            raise ValueError(f"field '{name}' is no column; write {{column}} or {{band}}")
        match = _FORMAT.fullmatch(form or "")
        if match is None:
            raise ValueError(f"format '{form}' is not for text; write {{{name}:0>4}}")
        if max(int(width or 0) for width in match.groups()) > MAX_WIDTH:
            raise ValueError(f"format '{form}' is too wide, at most {MAX_WIDTH} characters")
    return {str(name) for name, _, _ in parts}


def _check(template: str) -> str:
    template_fields(template)
    return template


Template = Annotated[str, AfterValidator(_check)]
"""A text setting that is a template."""
