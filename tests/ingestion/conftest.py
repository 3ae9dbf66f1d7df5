from pathlib import Path

import pytest

from tests.ingestion.toy import catalog, write_object


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """A folder with a catalogue and one file with two bands per object."""
    root = tmp_path / "survey"
    root.mkdir()
    table = catalog()
    table.write(root / "catalog.fits")
    for number, name in enumerate(table["objid"]):
        write_object(root / "images" / f"{name}.fits", number)
    return root
