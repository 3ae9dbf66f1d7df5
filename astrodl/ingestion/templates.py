"""Fill in path and extension templates without leaving the folder of the data."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from astrodl.errors import DataError
from astrodl.ingestion.planes import RefusedError


@dataclass
class Templates:
    """Templates of one object.

    Parameters
    ----------
    root
        Resolved folder that no path may leave.
    fields
        Catalogue values for the templates.
    """

    root: str
    fields: Mapping[str, str]
    _paths: dict[tuple[str, str], str] = field(default_factory=dict)

    def path(self, template: str, band: str, blame: str) -> str:
        """Give a path relative to the root.

        Raises
        ------
        RefusedError
            The path leads out of the root; `blame` is the band or label that asked for it.
        """
        if (template, band) in self._paths:
            return self._paths[template, band]
        name = self.text(template, band)
        resolved = os.path.realpath(os.path.join(self.root, name)) if "\0" not in name else ""
        if not resolved.startswith(self.root.rstrip("/") + "/"):
            raise RefusedError(name.replace("\0", "?"), blame, "the path leads out of data.root")
        self._paths[template, band] = name
        return name

    def extension(self, template: str | int | None, band: str) -> str | int | None:
        """Give an extension: a number where a template was filled in with one, None where none is named."""
        if template is None or isinstance(template, int) or "{" not in template:
            return template
        text = self.text(template, band)
        return int(text) if text.isdigit() else text

    def text(self, template: str, band: str) -> str:
        """Fill in a template."""
        try:
            return template.format_map({**self.fields, "band": band})
        except (ValueError, KeyError, IndexError, AttributeError) as error:
            raise DataError(f"path template '{template}': {error}; write {{column}} or {{band}}") from None
