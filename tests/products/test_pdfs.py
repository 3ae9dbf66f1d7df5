import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from astrodl.errors import DataError, StoreError
from astrodl.metrics import pdf as metrics
from astrodl.products.pdfs import read_pdfs, write_pdfs

EDGES = np.linspace(0, 2, 51)
IDS = np.array(["a1", "object-22", "c"])


def densities(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(50), n) / np.diff(EDGES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "photoz_pdf.hdf5"


def test_distributions_round_trip(path: Path) -> None:
    write_pdfs(path, IDS, EDGES, densities())
    names, edges, pdf = read_pdfs(path)
    assert names.tolist() == IDS.tolist()
    assert np.array_equal(edges, EDGES)
    assert np.array_equal(pdf, densities().astype(np.float32))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n", [1, 3])
def test_qp_reads_the_same_densities(path: Path, n: int) -> None:
    qp = pytest.importorskip("qp")
    write_pdfs(path, IDS[:n], EDGES, densities(n))
    ensemble = qp.read(str(path))
    assert qp.is_qp_file(str(path))
    assert qp.data_length(str(path)) == n
    assert list(ensemble.ancil["object_id"]) == IDS[:n].tolist()
    z = np.linspace(0.013, 1.987, 76)
    index = np.searchsorted(EDGES, z) - 1
    assert np.reshape(ensemble.pdf(z), (n, 76)) == pytest.approx(densities(n)[:, index], rel=1e-6)
    assert np.ravel(ensemble.mean()) == pytest.approx(metrics.mean(densities(n), EDGES), abs=1e-6)
    assert np.ravel(ensemble.ppf(0.5)) == pytest.approx(metrics.median(densities(n), EDGES), abs=1e-6)
    assert np.ravel(ensemble.cdf(0.77)) == pytest.approx(metrics.pit(densities(n), EDGES, np.full(n, 0.77)), abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_qp_iterates_over_the_file_in_chunks(path: Path) -> None:
    qp = pytest.importorskip("qp")
    write_pdfs(path, IDS, EDGES, densities())
    assert [(start, end) for start, end, _ in qp.iterator(str(path), chunk_size=2)] == [(0, 2), (2, 3)]


def test_equal_input_gives_equal_bytes_and_leaves_no_other_file(path: Path) -> None:
    write_pdfs(path, IDS, EDGES, densities())
    first = path.read_bytes()
    write_pdfs(path, IDS.tolist(), EDGES.tolist(), densities())
    assert path.read_bytes() == first
    assert os.listdir(path.parent) == [path.name]


def test_a_failure_leaves_the_old_file_and_no_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pdfs(path, IDS, EDGES, densities())
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot be written .No space left on device."):
        write_pdfs(path, IDS, EDGES, densities()[::-1])
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/p.hdf5: cannot be written"):
        write_pdfs(tmp_path / "file" / "p.hdf5", IDS, EDGES, densities())


@pytest.mark.parametrize(
    ("ids", "edges", "pdf", "message"),
    [
        (IDS[:2], EDGES, densities(), r"must be \(2, 50\)"),
        (IDS, EDGES[::-1], densities(), "strictly increasing"),
        (IDS, EDGES, np.zeros((3, 50)), "3 of 3 pdfs"),
        (IDS, EDGES, np.full((3, 50), np.nan), "NaN"),
        (IDS, EDGES, 2 * densities(), "integral 2"),
        (IDS, [0, 1], np.ones((3, 1)), "at least three"),
    ],
)
def test_invalid_densities_are_refused_and_nothing_is_written(path: Path, ids, edges, pdf, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_pdfs(path, ids, edges, pdf)
    assert not os.listdir(path.parent)


def test_identifiers_that_are_not_ascii_are_refused(path: Path) -> None:
    with pytest.raises(DataError, match="'galaxy-é' in column object_id is not ASCII"):
        write_pdfs(path, ["a", "galaxy-é", "c"], EDGES, densities())


def test_a_missing_file_is_refused(path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        read_pdfs(path)


def test_damaged_files_and_files_in_another_format_are_refused(path: Path) -> None:
    path.write_text("no HDF5")
    with pytest.raises(StoreError, match="not a file of p"):
        read_pdfs(path)
    with h5py.File(path, "w") as file:
        file["data/pdfs"] = densities()
    with pytest.raises(StoreError, match="not a file of p"):
        read_pdfs(path)
    write_pdfs(path, IDS, EDGES, densities())
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(StoreError, match="not a file of p"):
        read_pdfs(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("meta/pdf_name", [b"interp"], "holds p.z. as 'interp'"),
        ("data/pdfs", np.full((3, 50), np.nan, np.float32), "3 of 3 pdfs"),
        ("ancil/object_id", [b"a"], "must be"),
    ],
)
def test_files_with_invalid_content_are_refused(path: Path, name: str, value, message: str) -> None:
    write_pdfs(path, IDS, EDGES, densities())
    with h5py.File(path, "a") as file:
        del file[name]
        file[name] = value
    with pytest.raises(StoreError, match=message):
        read_pdfs(path)
