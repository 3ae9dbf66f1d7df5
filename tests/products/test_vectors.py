"""Files of vectors: both formats give back what was written; what is damaged is refused."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from pyarrow import parquet

from astrodl.errors import ConfigError, StoreError
from astrodl.products import Vectors, read_catalog, vectors
from astrodl.products.vectors import SUFFIXES, stream_vectors

N, D = 1003, 7
HEADER = {"SURVEY": "tiny", "STORE": "5" * 64, "TASK1": "photoz", "MODEL1": "a" * 64, "DIM1": str(D)}


def draw(n: int = N) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(0).standard_normal((n, D)).astype(np.float32)
    values[3] = np.nan
    return np.array([f"G{number:05d}" for number in range(n)]), values


def write(path: Path, ids: np.ndarray, values: np.ndarray, block: int = 100) -> Path:
    with stream_vectors(path, len(ids), HEADER, width=6) as add:
        for start in range(0, len(ids), block):
            add(ids[start : start + block], values[start : start + block])
    return path


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path / f"vectors{request.param}", *draw())


@pytest.mark.parametrize("rows", [4, 64, 10**6])
def test_what_was_written_is_read_in_blocks_of_any_size(path: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_GROUP_ROWS", rows)
    source = Vectors(path)
    ids, values = source.read()
    np.testing.assert_array_equal(ids, draw()[0])
    np.testing.assert_array_equal(values, draw()[1])
    assert values.dtype == np.float32
    assert len(source) == N
    assert source.provenance == {"FORMAT": "astrodl-vectors 1", **HEADER}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_identifiers_that_are_integers_stay_integers_in_the_file(suffix: str, tmp_path: Path) -> None:
    numbers = np.arange(N) + 2**60
    path = write(tmp_path / f"vectors{suffix}", numbers, draw()[1])
    table = Table.read(path) if suffix == ".fits" else parquet.read_table(path)
    assert np.asarray(table["object_id"]).tolist() == numbers.tolist()
    np.testing.assert_array_equal(Vectors(path).read()[0], numbers.astype(str))


def test_other_programs_read_both_formats(tmp_path: Path) -> None:
    ids, values = draw()
    np.testing.assert_array_equal(read_catalog(write(tmp_path / "a.fits", ids, values))["vector"], values)
    table = parquet.read_table(write(tmp_path / "a.parquet", ids, values))
    np.testing.assert_array_equal(np.stack(table["vector"].to_numpy()), values)


@pytest.mark.parametrize("n_objects", [N, 1000])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_bytes_do_not_depend_on_the_blocks_of_writing(
    suffix: str, n_objects: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "_GROUP_ROWS", 100)
    files = [write(tmp_path / f"{block}{suffix}", *draw(n_objects), block=block) for block in (1, 100, 128, N)]
    assert len({file.read_bytes() for file in files}) == 1
    np.testing.assert_array_equal(Vectors(files[0]).read()[1], draw(n_objects)[1])


def test_one_dimension_is_enough(tmp_path: Path) -> None:
    ids, values = draw()
    for suffix in SUFFIXES:
        with stream_vectors(tmp_path / f"a{suffix}", N, {**HEADER, "DIM1": "1"}, width=6) as add:
            add(ids, values[:, :1])
        np.testing.assert_array_equal(Vectors(tmp_path / f"a{suffix}").read()[1], values[:, :1])


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7, 0.9])
def test_an_altered_byte_is_refused(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(StoreError, match="run 'astrodl embed' again"):
        Vectors(path).read()


def test_an_altered_header_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", *draw())
    data = path.read_bytes().replace(b"photoz", b"latent")
    path.write_bytes(data)
    with pytest.raises(StoreError, match="differs from its checksum"):
        Vectors(path).read()


@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_a_file_that_is_cut_short_is_refused(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(StoreError, match="run 'astrodl embed' again"):
        Vectors(path).read()


def test_another_table_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "catalog.fits"
    Table({"object_id": ["a", "b"], "z": [0.1, 0.2]}).write(other)
    with pytest.raises(StoreError, match="must be object_id and vector"):
        Vectors(other)
    Table({"object_id": ["a", "b"], "vector": np.zeros((2, 3), np.float32)}).write(other, overwrite=True)
    with pytest.raises(StoreError, match="not a file of vectors"):
        Vectors(other)
    parquet.write_table(
        parquet.read_table(write(tmp_path / "a.parquet", *draw())).select(["vector"]), other.with_suffix(".parquet")
    )
    with pytest.raises(StoreError, match="must be object_id and vector"):
        Vectors(other.with_suffix(".parquet"))


def test_missing_files_and_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file; make it with 'astrodl embed'"):
        Vectors(tmp_path / "a.fits")
    with pytest.raises(StoreError, match=r"end in \.fits or \.parquet"):
        Vectors(tmp_path / "a.csv")
    with (
        pytest.raises(ConfigError, match=r"must end in \.fits or \.parquet"),
        stream_vectors(tmp_path / "a.csv", 1, HEADER, width=1),
    ):
        pass


def test_an_error_while_writing_leaves_no_file(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        with stream_vectors(path, N, HEADER, width=6) as add:
            add(*(part[:10] for part in draw()))
            raise RuntimeError

    for suffix in SUFFIXES:
        with pytest.raises(RuntimeError):
            fail(tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []
