"""Splits from the catalogue, and the sample on which networks are trained and evaluated."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from astrodl.config import parse
from astrodl.config.survey import DataSettings
from astrodl.errors import ConfigError, DataError
from astrodl.ingestion.ingest import ingest
from astrodl.ingestion.objects import Objects
from astrodl.ingestion.splits import split_objects
from astrodl.store import SPLITS, check, open_store
from tests.ingestion.toy import catalog, settings

N = 3000
NAMES = ["train", "", "test", "validation", "", "train"] * 2


def make_objects(n: int = N, seed: int = 0) -> Objects:
    rng = np.random.default_rng(seed)
    names = [f"object {k}" for k in range(n)]
    return Objects(names, rng.uniform(0, 360, n), rng.uniform(-60, 60, n), {}, {}, None, np.arange(n), None)


def assign(objects: Objects, tmp_path: Path, **split: object) -> tuple[np.ndarray, np.ndarray]:
    return split_objects(objects, settings(tmp_path, split=split), Path("catalog.fits"))


def write_catalog(root: Path, column: list[str], folds: list[float] | None = None) -> None:
    table = catalog()
    table["part"] = column
    if folds is not None:
        table["group"] = folds
    table.write(root / "catalog.fits", overwrite=True)


def test_splits_from_the_catalogue_reach_the_store_and_empty_means_rest(survey: Path, tmp_path: Path) -> None:
    write_catalog(survey, NAMES)
    summary = ingest(settings(survey, split_column="part"), tmp_path / "store.h5")
    assert summary["split"] == {"train": 4, "validation": 2, "test": 2, "rest": 4}
    assert summary["landed"]["n_rest"] == 4
    assert set(summary["landed"]["parts"]) == {"train", "validation", "test"}
    assert check(tmp_path / "store.h5") == []
    with open_store(tmp_path / "store.h5") as store:
        assert [SPLITS[part] for part in store.split] == [name or "rest" for name in NAMES]
        selected = {part: store.select(part).tolist() for part in SPLITS}
        assert selected == {part: [k for k, name in enumerate(NAMES) if (name or "rest") == part] for part in SPLITS}


def test_folds_from_the_catalogue_exclude_test_and_rest(survey: Path, tmp_path: Path) -> None:
    write_catalog(survey, NAMES, [k % 2 for k in range(12)])
    options = {"split_column": "part", "fold_column": "group", "split": {"folds": 2}}
    summary = ingest(settings(survey, **options), tmp_path / "store.h5")
    assert sum(summary["folds"]) == 6
    with open_store(tmp_path / "store.h5") as store:
        assert ((store.fold < 0) == np.isin(store.split, (2, 3))).all()
        for fold in range(2):
            both = np.union1d(store.select("train", fold), store.select("validation", fold))
            assert both.tolist() == [k for k, name in enumerate(NAMES) if name in ("train", "validation")]


def test_all_objects_may_be_in_the_rest(survey: Path, tmp_path: Path) -> None:
    write_catalog(survey, [""] * 12)
    summary = ingest(settings(survey, split_column="part"), tmp_path / "store.h5")
    assert summary["split"]["rest"] == 12
    assert json.loads((tmp_path / "ingest.json").read_text())["landed"]["unlucky"] == []


@pytest.mark.parametrize(
    ("column", "folds", "message"),
    [
        (
            ["val", *NAMES[1:]],
            [0] * 12,
            "column 'part' holds 'val', accepted are train, validation, test or nothing",
        ),
        (NAMES, [3, *[0] * 11], "column 'group' holds 3 in row 1, accepted are 0 to 1"),
        (NAMES, [0, 0, 0, np.nan, *[0] * 8], "holds nan in row 4"),
    ],
)
def test_invalid_splits_and_folds_are_refused(
    survey: Path, tmp_path: Path, column: list[str], folds: list[float], message: str
) -> None:
    write_catalog(survey, column, folds)
    options = {"split_column": "part", "fold_column": "group", "split": {"folds": 2}}
    with pytest.raises(DataError, match=message):
        ingest(settings(survey, **options), tmp_path / "store.h5")
    assert not (tmp_path / "store.h5").exists()


def test_a_fold_column_without_a_split_column_is_refused() -> None:
    values = {"catalog": "c.fits", "layout": "rgb", "path": "x", "bands": [{"name": "g"}], "fold_column": "group"}
    with pytest.raises(ConfigError, match="`fold_column` goes with a `split_column`"):
        parse(DataSettings, values)


def test_the_sample_has_about_the_requested_size_and_keeps_its_splits(tmp_path: Path) -> None:
    full, _ = assign(make_objects(), tmp_path)
    parts, folds = assign(make_objects(), tmp_path, sample=600)
    inside = parts != SPLITS.index("rest")
    # five standard deviations of a binomial count
    assert abs(inside.sum() - 600) < 5 * np.sqrt(600 * 0.8)
    assert (parts[inside] == full[inside]).all()
    assert ((folds < 0) == (parts >= 2)).all()


def test_the_sample_is_independent_of_order_and_contains_smaller_samples(tmp_path: Path) -> None:
    objects = make_objects()
    order = np.random.default_rng(1).permutation(N)
    names = [objects.object_id[k] for k in order]
    shuffled = Objects(names, objects.ra[order], objects.dec[order], {}, {}, None, np.arange(N), None)  # type: ignore[index]
    parts = assign(objects, tmp_path, sample=600)[0]
    assert (assign(shuffled, tmp_path, sample=600)[0] == parts[order]).all()
    smaller = assign(objects, tmp_path, sample=200)[0] != SPLITS.index("rest")
    assert (parts[smaller] != SPLITS.index("rest")).all()


def test_a_sample_as_large_as_the_survey_keeps_all_objects(tmp_path: Path) -> None:
    assert (assign(make_objects(), tmp_path, sample=N)[0] == assign(make_objects(), tmp_path)[0]).all()


def test_a_sample_too_small_for_its_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"would be empty .* in a sample of split.sample 1, perhaps too few"):
        assign(make_objects(50), tmp_path, sample=1)


def test_a_sample_is_also_drawn_from_splits_of_the_catalogue(survey: Path, tmp_path: Path) -> None:
    write_catalog(survey, NAMES)
    kept = ingest(settings(survey, split_column="part", split={"sample": 4}), tmp_path / "store.h5")["split"]
    assert kept["rest"] >= 4
    assert sum(kept.values()) == len(Table.read(survey / "catalog.fits"))
