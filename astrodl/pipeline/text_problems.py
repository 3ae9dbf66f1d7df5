"""Problems of catalogues and identifiers that only the last steps of the pipeline would meet."""

import os
from collections.abc import Iterable
from pathlib import Path

from astrodl.config import DataSettings, expand
from astrodl.errors import AstrodlError

__all__ = ["catalogue_problems", "identifier_problems"]

_BLOCK = 65536


def catalogue_problems(surveys: Iterable[DataSettings]) -> list[str]:
    """List why the catalogues of surveys cannot be ingested, one line each; one that is elsewhere is skipped."""
    from astrodl.ingestion.objects import read_objects
    from astrodl.ingestion.tables import find_catalog

    problems = []
    for data in surveys:
        try:
            if os.path.isdir(expand(data.root)) and (path := find_catalog(data)[1]).is_file():
                read_objects(path, data)
        except AstrodlError as error:
            problems.append(str(error))
    return problems


def identifier_problems(path: Path) -> list[str]:
    """List the first identifier of a store that a FITS catalogue cannot hold."""
    from astrodl.store import open_store

    with open_store(path) as reader:
        for start in range(0, len(reader), _BLOCK):
            for name in reader.block("object_id", start, min(start + _BLOCK, len(reader))):
                if not (name.isascii() and name.isprintable()):
                    return [
                        f"{path}: object_id {str(name)!r:.60} is not printable ASCII, as `astrodl catalog` needs; "
                        "rename the objects and ingest again"
                    ]
    return []
