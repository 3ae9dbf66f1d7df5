from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table

from astrodl.config import IngestSettings, parse
from astrodl.errors import DataError
from astrodl.ingestion.ingest import ingest
from astrodl.store import FLAGS, check, open_store


def real(name: str, **data: Any) -> IngestSettings:
    split = {"test": 0, "validation": 0}
    return parse(IngestSettings, {"survey": name, "data": data, "split": split})


def folder_of(test_data: Path, name: str) -> str:
    if not (test_data / name).is_dir():
        pytest.skip(f"no {test_data / name}")
    return str(test_data / name)


def test_hst_pairs_are_ingested(test_data: Path, tmp_path: Path) -> None:
    options = {"id_column": "deep2_objno", "ra_column": "ra_crval", "dec_column": "dec_crval", "size": 96, "rebin": 2}
    bands = [{"name": "F606W", "path": "{file_v}"}, {"name": "F814W", "path": "{file_i}"}]
    root = folder_of(test_data, "hst_egs_specz")
    values = real(
        "egs", root=root, catalog="redshifts.csv", layout="files", bands=bands, columns={"z": "z_spec"}, **options
    )
    summary = ingest(values, tmp_path / "store.h5")
    assert summary["n_refused"] == 0
    with open_store(tmp_path / "store.h5") as store:
        assert store.pixel_scale_arcsec == pytest.approx(0.06, rel=1e-4)
        assert ((store.column("z") > 0.1) & (store.column("z") < 0.9)).all()
        assert (store.features(["snr"]) > 20).all()


def test_nine_extension_gzip_cutouts_are_calibrated_over_twelve_orders_of_magnitude(
    test_data: Path, tmp_path: Path
) -> None:
    root = folder_of(test_data, "multiband_9")
    bands = [{"name": name} for name in ("u", "g", "r", "i", "Z", "Y", "J", "H", "Ks")]
    options = {"id_column": "source", "path": "cutouts/src{source:0>4}.fits.gz", "max_bad_fraction": 0.95}
    ingest(
        real("gama", root=root, catalog="sources.csv", layout="extensions", bands=bands, **options),
        tmp_path / "store.h5",
    )
    with open_store(tmp_path / "store.h5") as store:
        assert (len(store), store.unit) == (24, "uJy")
        assert list(store.zero_points) == [0] * 4 + [30] * 5
        magnitude = store.features([f"magnitude_{band['name']}_ap12" for band in bands])
        assert (np.nanstd(magnitude, axis=1) < 2).all()


def test_a_legacy_survey_cube_is_ingested(test_data: Path, tmp_path: Path) -> None:
    cube = Path(folder_of(test_data, "legacy_survey"), "decals_dr5_grz_509.fits")
    (tmp_path / "cube.fits").write_bytes(cube.read_bytes())
    (tmp_path / "catalog.csv").write_text("object_id\n1\n")
    bands = [{"name": name, "zero_point": 22.5} for name in "grz"]
    values = real("legacy", root=str(tmp_path), catalog="catalog.csv", layout="cube", path="cube.fits", bands=bands)
    ingest(values, tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        assert store.pixel_scale_arcsec == pytest.approx(0.262, rel=1e-3)
        magnitude = store.features([f"magnitude_{name}_ap12" for name in "grz"])[0]
        assert magnitude[0] > magnitude[1] > magnitude[2] > 10


def test_galaxy_zoo_jpegs_are_ingested(test_data: Path, tmp_path: Path) -> None:
    root = Path(folder_of(test_data, "gz1_morphology"))
    (tmp_path / "images").symlink_to(root / "images")
    lines = (root / "labels.csv").read_text().splitlines()
    (tmp_path / "catalog.csv").write_text("\n".join([lines[0], *lines[1:9]]))
    bands = [{"name": name} for name in ("red", "green", "blue")]
    options = {"id_column": "sdss_dr7_objid", "columns": {"class": "class_name"}, "rebin": 2, "size": 128}
    values = {"layout": "rgb", "path": "{file}", "bands": bands, "background": "border", **options}
    with pytest.raises(DataError, match="leads out of data"):  # through the link
        ingest(real("gz", root=str(tmp_path), catalog="catalog.csv", **values), tmp_path / "store.h5")
    (tmp_path / "images").unlink()
    (tmp_path / "images").mkdir()
    for line in lines[1:9]:
        name = line.split(",")[3]
        (tmp_path / name).write_bytes((root / name).read_bytes())
    ingest(real("gz", root=str(tmp_path), catalog="catalog.csv", **values), tmp_path / "store.h5")
    with open_store(tmp_path / "store.h5") as store:
        assert store.column("class")[0] == "edge_on"
        assert (store.flags & FLAGS["not_detected"] == 0).all()


def test_awkward_files_leave_a_store_or_a_line_in_the_quarantine_list(test_data: Path, tmp_path: Path) -> None:
    root = Path(folder_of(test_data, "awkward_fits"))
    names = sorted(path.name for path in (root / "files").iterdir() if path.stat().st_size < 600_000)
    (tmp_path / "files").mkdir()
    for name in names:
        (tmp_path / "files" / name).write_bytes((root / "files" / name).read_bytes())
    Table({"object_id": names}).write(tmp_path / "catalog.ecsv")
    options = {"layout": "files", "path": "files/{object_id}", "bands": [{"name": "g"}], "max_bad_fraction": 0.9}
    values = real("awkward", root=str(tmp_path), catalog="catalog.ecsv", **options)
    summary = ingest(values, tmp_path / "store.h5")
    assert summary["n_objects"] + summary["n_refused"] == len(names)
    assert summary["n_objects"] > 20
    assert check(tmp_path / "store.h5") == []
