"""Fill in path and extension templates, within the folder of the data."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from astrodl.errors import DataError
from astrodl.ingestion.band_image import RefusedError

__all__ = ["Templates"]


@dataclass
class Templates:
    """Fill in the templates for one object.

    Parameters
    ----------
    root
        Folder of the data, with links resolved; no path may leave it.
    fields
        Catalogue values for the templates.
    """

    root: str
    fields: Mapping[str, str]
    _paths: dict[tuple[str, str], str] = field(default_factory=dict)

    def path(self, template: str, band: str, label: str = "") -> str:
        """Fill in the path template of a band or label; the path is relative to the root.

        Raises
        ------
        RefusedError
            If the path leaves the root.
        """
        key = (template, band if "{band" in template else "")
        if key not in self._paths:
            name = self.text(template, band)
            resolved = os.path.realpath(os.path.join(self.root, name)) if "\0" not in name else ""
            if not resolved.startswith(self.root.rstrip("/") + "/"):
                raise RefusedError(name.replace("\0", "?"), label or band, "the path leads out of data.root")
            self._paths[key] = name
        return self._paths[key]

    def extension(self, template: str | int | None, band: str) -> str | int | None:
        """Fill in an extension template; digits become a number, None stays None."""
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
