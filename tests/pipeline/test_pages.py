"""The verbs map, review and rerank on the results of a survey."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import astrodl
from astrodl import cli
from astrodl.errors import AstrodlError, ConfigError, DataError, StoreError
from astrodl.pipeline import page_columns
from astrodl.pipeline.labels import read_labels
from astrodl.pipeline.page_columns import open_sources, read_columns
from astrodl.pipeline.predictions import writing
from astrodl.store import open_store
from tests.small_store import N_OBJECTS

Trained = Callable[[str], Path]


@pytest.fixture(scope="module")
def results(store: Path, trained_model: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the small survey with three tasks; tests must not change them."""
    folder = tmp_path_factory.mktemp("results")
    shutil.copy(store, folder / "store.h5")
    for task in ("latent", "outliers", "morphology"):
        (folder / task).mkdir()
        shutil.copy(trained_model(task) / "predictions.h5", folder / task)
    return folder


def read_data(page: Path) -> dict[str, Any]:
    block = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert block
    return dict(json.loads(block[1]))


def column(data: dict[str, Any], name: str) -> list[Any]:
    (found,) = [one for one in data["columns"] if one["name"] == name]
    return (
        found["values"] if found["kind"] == "number" else [found["names"][i] if i >= 0 else "" for i in found["values"]]
    )


def decode(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def predictions(results: Path, *tasks: str) -> list[Path]:
    return [results / task / "predictions.h5" for task in tasks]


def test_the_map_holds_places_vectors_and_the_columns_of_the_catalogue(results: Path, tmp_path: Path) -> None:
    files = predictions(results, "latent", "outliers", "morphology")
    page = astrodl.map(results / "store.h5", files, tmp_path / "map.html")
    data = read_data(page)
    latent = page_columns.Predictions(files[0]).read()["map"]
    np.testing.assert_allclose(decode(data["position"]).reshape(-1, 2), latent, rtol=1e-6)
    assert data["about"] == f"All {N_OBJECTS} objects of the survey, placed by the map of the latent vectors."
    astrodl.catalog(results / "store.h5", files, tmp_path / "catalog.fits")
    table = fits.getdata(tmp_path / "catalog.fits")
    assert data["ids"] == table["object_id"].tolist()
    for name in ("outliers_score", "z", "bt"):
        np.testing.assert_allclose(column(data, name), table[name], rtol=1e-4)
    for name in ("morphology_class", "class", "split"):
        assert column(data, name) == table[name].tolist()
    with open_store(results / "store.h5") as reader:
        np.testing.assert_allclose(column(data, "concentration"), reader.features(["concentration"])[:, 0], rtol=1e-4)
    assert data["columns"][data["colour"]]["name"] == "morphology_class"
    assert data["sprites"]["side"] == 32


def test_of_many_objects_a_random_sample_is_shown_and_the_page_says_so(results: Path, tmp_path: Path) -> None:
    store, files = results / "store.h5", predictions(results, "latent")
    data = read_data(astrodl.map(store, files, tmp_path / "map.html", n_objects=20))
    assert data["about"].startswith(f"A random sample of 20 of the {N_OBJECTS} objects")
    assert len(set(data["ids"])) == 20
    with open_store(store) as reader:
        chosen = np.searchsorted(reader.object_id, data["ids"])
        np.testing.assert_allclose(column(data, "z"), reader.column("z", chosen), rtol=1e-4)
    other = read_data(astrodl.map(store, files, tmp_path / "map.html", n_objects=20, seed=1))
    assert other["ids"] != data["ids"]


def write_latent(results: Path, path: Path, **arrays: np.ndarray) -> Path:
    """Write predictions of the task latent with other arrays."""
    known = page_columns.Predictions(results / "latent" / "predictions.h5")
    kept = {**known.read(), **arrays}
    shared = {"object_id": known.object_id, "unseen": known.held_out(0, N_OBJECTS)}
    attributes = {name: value for name, value in known.attributes.items() if name not in ("format", "arrays")}
    with writing(path, attributes, N_OBJECTS) as writer:
        writer.write(0, {**shared, **kept})
    return path


def test_the_array_map_places_the_objects_where_there_is_one(results: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    places, vectors = random.standard_normal((N_OBJECTS, 2)), random.standard_normal((N_OBJECTS, 5))
    arrays = {"latent": vectors, "latent_error": vectors, "map": places}
    file = write_latent(results, tmp_path / "latent.h5", **arrays)
    data = read_data(astrodl.map(results / "store.h5", file, tmp_path / "map.html"))
    np.testing.assert_allclose(decode(data["position"]).reshape(-1, 2), places, rtol=1e-6)
    np.testing.assert_allclose(decode(data["vectors"]).reshape(-1, 5), vectors, rtol=1e-6)


def test_objects_without_a_place_are_left_out_and_counted(results: Path, tmp_path: Path) -> None:
    places = np.random.default_rng(0).standard_normal((N_OBJECTS, 2))
    places[7] = np.nan
    file = write_latent(results, tmp_path / "latent.h5", map=places)
    data = read_data(astrodl.map(results / "store.h5", file, tmp_path / "map.html"))
    assert "T007" not in data["ids"]
    assert "1 without data are left out." in data["about"]


def test_what_the_map_cannot_show_is_refused_in_one_line(results: Path, tmp_path: Path) -> None:
    store, out = results / "store.h5", tmp_path / "map.html"
    with pytest.raises(StoreError, match="needs predictions of the task latent"):
        astrodl.map(store, predictions(results, "outliers"), out)
    with pytest.raises(ConfigError, match="objects = 0"):
        astrodl.map(store, predictions(results, "latent"), out, n_objects=0)
    with pytest.raises(ConfigError, match="is an input"):
        astrodl.map(store, predictions(results, "latent"), store)
    nothing = np.full((N_OBJECTS, 2), np.nan)
    file = write_latent(results, tmp_path / "latent.h5", latent=nothing)
    with pytest.raises(DataError, match="no object has a place"):
        astrodl.map(store, file, out)
    assert not out.exists()


def test_columns_are_those_of_the_objects_in_the_order_asked(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    indices = np.array([70, 3, 41, 3])
    with open_store(results / "store.h5") as reader:
        sources = open_sources(reader, predictions(results, "outliers"))
        whole = {one.name: np.asarray(one.values) for one in read_columns(reader, sources, np.arange(N_OBJECTS))}
        monkeypatch.setattr(page_columns, "BLOCK", 8)
        part = {one.name: np.asarray(one.values) for one in read_columns(reader, sources, indices)}
    assert part.keys() == whole.keys()
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][indices])


def test_the_review_shows_the_highest_outlier_scores_first(results: Path, tmp_path: Path) -> None:
    page = astrodl.review(results, n_objects=12, out=tmp_path / "review.html")
    data = read_data(page)
    score = page_columns.Predictions(results / "outliers" / "predictions.h5").read()["score"]
    expected = np.argsort(-score, kind="stable")[:12]
    assert data["ids"] == [f"T{i:03d}" for i in expected]
    np.testing.assert_allclose(column(data, "outliers_score"), score[expected], rtol=1e-4)
    assert [one["key"] + one["name"] for one in data["classes"]] == ["1interesting", "2boring", "3artefact"]
    assert data["key"].startswith("tiny/outliers/")


def test_the_review_of_morphology_shows_the_least_certain_first(results: Path, tmp_path: Path) -> None:
    data = read_data(astrodl.review(results, task="morphology", n_objects=N_OBJECTS, out=tmp_path / "review.html"))
    probability = page_columns.Predictions(results / "morphology" / "predictions.h5").read()["probability"]
    with open_store(results / "store.h5") as reader:
        is_late = reader.column("class") == "late"
    certainty = probability[np.arange(N_OBJECTS), is_late.astype(int)]
    order = [int(name[1:]) for name in data["ids"]]
    assert sorted(order) == list(range(N_OBJECTS))
    assert (np.diff(certainty[order]) >= 0).all()
    assert [one["name"] for one in data["classes"]] == ["early", "late"]
    assert data["why"][0].startswith(
        f"labelled {'late' if is_late[order[0]] else 'early'}, to which the network gives 0."
    )


def test_a_review_without_predictions_is_refused_in_one_line(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="task = 'photoz': must be one of outliers, morphology"):
        astrodl.review(results, task="photoz")
    with pytest.raises(ConfigError, match="top = 0"):
        astrodl.review(results, n_objects=0)
    shutil.copy(results / "store.h5", tmp_path)
    with pytest.raises(StoreError, match="no such file; give the results of a survey with the task outliers"):
        astrodl.review(tmp_path)
    (tmp_path / "outliers").mkdir()
    shutil.copy(results / "latent" / "predictions.h5", tmp_path / "outliers")
    with pytest.raises(StoreError, match="no predictions of task outliers"):
        astrodl.review(tmp_path)


def write_labels(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{name},{label}\n" for name, label in [("object_id", "label"), *rows]))
    return path


def test_rerank_writes_a_table_and_the_next_page(results: Path, tmp_path: Path) -> None:
    score = page_columns.Predictions(results / "outliers" / "predictions.h5").read()["score"]
    top = np.argsort(-score, kind="stable")[:10]
    given = [(f"T{i:03d}", "interesting" if k % 2 else "artefact") for k, i in enumerate(top)]
    labels = write_labels(tmp_path / "labels.csv", given)
    out, page = tmp_path / "new.fits", tmp_path / "next.html"
    assert astrodl.rerank(results, labels, n_objects=20, out=out, page=page) == out
    table = fits.getdata(out)
    assert table["object_id"].tolist() == [f"T{i:03d}" for i in range(N_OBJECTS)]
    assert sorted(table["rank"]) == list(range(1, N_OBJECTS + 1))
    assert (np.diff(table["interest"][np.argsort(table["rank"])]) <= 0).all()
    assert table["label"][top].tolist() == [label for _, label in given]
    np.testing.assert_allclose(table["outliers_score"], score)
    interest = table["interest"][top]
    assert interest[1::2].min() > interest[::2].max()
    data = read_data(page)
    assert len(data["ids"]) == 20
    assert not set(data["ids"]) & {name for name, _ in given}
    assert data["labels"] == [list(pair) for pair in given]
    unsure = [why.startswith("least sure") for why in data["why"]]
    assert [i for i, one in enumerate(unsure) if one] == [4, 9, 14, 19]
    of_rank = [value for value, one in zip(column(data, "interest"), unsure, strict=True) if not one]
    assert of_rank == sorted(of_rank, reverse=True)
    assert astrodl.rerank(results, labels, n_objects=20, out=tmp_path / "again.fits", page=page)
    assert (tmp_path / "again.fits").read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the first row is ''"),
        (b"object_id,label\n", "holds no labels"),
        (b"name,label\nT001,boring\n", "the first row is 'name,label'"),
        (b"object_id,label\nT001\n", "row 2 has 1 fields"),
        (b"object_id,label\nT001,boring,x\n", "row 2 has 3 fields"),
        (b"object_id,label\nX999,boring\n", "no object 'X999' in the store"),
        (b"object_id,label\nT001,nice\n", "label 'nice': must be one of 'interesting', 'boring', 'artefact'"),
        (b"object_id,label\nT001,boring\nT001,artefact\n", "object 'T001' is 'artefact' and, before, 'boring'"),
        (b"\xff\xfe\x00", "not a CSV file in UTF-8"),
        (b'object_id,label\n"T001,boring\n', "not a CSV file"),
        (b"object_id,label\n" + b"x" * 200_000 + b",boring\n", "not a CSV file"),
        (b"object_id,label\n<b>\x1b[31m,boring\n", r"no object '<b>\\x1b\[31m'"),
        (b"object_id,label\nT001\x00,boring\n", "no object|not a CSV"),
    ],
)
def test_files_that_are_not_labels_are_refused_in_one_line(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(text)
    with pytest.raises(DataError, match=message) as raised:
        read_labels(path, ["T001", "T002"], ("interesting", "boring", "artefact"))
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    assert str(raised.value).isprintable()


def test_labels_are_read_as_the_page_and_spreadsheets_write_them(tmp_path: Path) -> None:
    names = ["a,b", 'quo"te', "line\nbreak", "=1+1", "T1"]
    path = tmp_path / "labels.csv"
    quoted = ['"a,b"', '"quo""te"', '"line\nbreak"', "=1+1", "T1", "T1"]
    text = "object_id,label\r\n\r\n" + "".join(f"{name},boring\r\n" for name in quoted)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_labels(path, names, ("boring",)) == dict.fromkeys(names, "boring")
    path.write_text("ID, label\nT1,boring\n")
    assert read_labels(path, names, ("boring",)) == {"T1": "boring"}
    with pytest.raises(DataError, match="no such file"):
        read_labels(tmp_path / "none.csv", names, ("boring",))


def test_the_verbs_write_their_pages_and_name_them(results: Path, tmp_path: Path, capsys: Any) -> None:
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    files = [str(path) for path in predictions(copy, "latent", "outliers")]
    assert cli.main(["map", str(copy / "store.h5"), *files, "--out", str(copy / "map.html"), "--objects", "30"]) == 0
    assert cli.main(["review", str(copy), "--top", "8"]) == 0
    assert cli.main(["review", str(copy), "--task", "morphology"]) == 0
    labels = write_labels(tmp_path / "labels.csv", [("T001", "boring"), ("T009", "interesting")])
    assert cli.main(["rerank", str(copy), str(labels)]) == 0
    written = ("map.html", "outliers/review.html", "morphology/review.html", "outliers/reranked.fits")
    assert capsys.readouterr().out.splitlines() == [str(copy / name) for name in written]
    assert (copy / "outliers" / "reranked.html").exists()
    labels.write_text("object_id,label\nT001,odd\n")
    assert cli.main(["rerank", str(copy), str(labels)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_rerank_does_not_replace_its_inputs(results: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels.csv", [("T001", "boring")])
    for options in ({"out": labels}, {"page": results / "store.h5"}, {"out": tmp_path / "x", "page": tmp_path / "x"}):
        with pytest.raises(AstrodlError, match="is an input"):
            astrodl.rerank(results, labels, **options)
    with pytest.raises(AstrodlError, match=r"order\.csv: must end in \.fits"):
        astrodl.rerank(results, labels, out=tmp_path / "order.csv")
