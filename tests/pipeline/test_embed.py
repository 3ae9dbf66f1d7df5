"""The verbs embed and similar: vectors of all tasks, provenance, neighbours, refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.table import Table

import astrodl
from astrodl import tasks
from astrodl.cli import main
from astrodl.errors import ConfigError, StoreError
from astrodl.models.symmetries import apply_symmetry
from astrodl.products import Vectors
from astrodl.store import open_store
from astrodl.tasks.base import Task
from astrodl.tasks.model import load_model
from tests.small_store import N_OBJECTS, write_store
from tests.small_task import read_batch, read_cutouts

TrainedModel = Callable[[str], Path]
INVARIANT = [
    name for name in tasks.NAMES if name not in ("latent", "outliers") and tasks.get(name).embed is not Task.embed
]
"""Tasks whose predictions, and so their vectors, are averaged over the views."""
EMBEDDED = [name for name in tasks.NAMES if tasks.get(name).embed is not Task.embed]


@pytest.fixture
def vectors(store: Path, trained_model: TrainedModel, tmp_path: Path) -> Path:
    """Vectors of the small store by a network of morphology."""
    return astrodl.embed(trained_model("morphology") / "model.safetensors", store, tmp_path / "vectors.fits")


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_task_gives_finite_vectors_that_differ(
    name: str, store: Path, trained_model: TrainedModel, tmp_path: Path
) -> None:
    model = load_model(trained_model(name) / "model.safetensors", device="cpu")
    out = astrodl.embed(trained_model(name) / "model.safetensors", store, tmp_path / "vectors.fits")
    source = Vectors(out)
    ids, values = source.read()
    with open_store(store) as reader:
        np.testing.assert_array_equal(ids, reader.object_id)
        assert source.provenance["STORE"] == reader.fingerprint
    assert source.provenance["TASK1"] == name
    assert source.provenance["MODEL1"] == model.metadata["fingerprint"]
    assert source.provenance["DIM1"] == str(values.shape[1])
    assert np.isfinite(values).all()
    assert len(np.unique(values, axis=0)) == N_OBJECTS
    np.testing.assert_allclose(model.embed(read_cutouts(store, 10), batch_size=3), values[:10], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", INVARIANT)
def test_vectors_do_not_depend_on_the_orientation(name: str, store: Path, trained_model: TrainedModel) -> None:
    model = load_model(trained_model(name) / "model.safetensors", device="cpu")
    batch = read_batch(model.task, store, 6)
    turned = {**batch, "image": apply_symmetry(batch["image"], 5)}
    np.testing.assert_allclose(model.embed_batch(turned), model.embed_batch(batch), rtol=2e-2, atol=2e-2)


def test_a_linear_head_on_single_views_gives_the_predictions(store: Path, trained_model: TrainedModel) -> None:
    model = load_model(trained_model("morphology") / "model.safetensors", device="cpu")
    model.task.settings = model.task.settings.model_copy(update={"views": 1})
    batch = read_batch(model.task, store, 6)
    with torch.no_grad():
        logits = model.network.head(model.embed_batch(batch))
    temperature = model.task.context.constants["temperature"]
    expected = model.predict_batch(batch)["probability"]
    torch.testing.assert_close((logits / temperature).softmax(1), expected, rtol=1e-4, atol=1e-5)


def test_vectors_of_several_networks_stand_side_by_side(
    store: Path, trained_model: TrainedModel, tmp_path: Path
) -> None:
    models = [trained_model(name) / "model.safetensors" for name in ("morphology", "latent")]
    parts = [Vectors(astrodl.embed(m, store, tmp_path / f"{i}.parquet")).read()[1] for i, m in enumerate(models)]
    both = Vectors(astrodl.embed(models, store, tmp_path / "both.parquet"))
    np.testing.assert_allclose(both.read()[1], np.concatenate(parts, axis=1), rtol=1e-5, atol=1e-6)
    assert [both.provenance[f"TASK{number}"] for number in (1, 2)] == ["morphology", "latent"]


def test_an_object_without_data_has_no_vector_and_no_neighbours(
    trained_model: TrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path / "store.h5", 40)
    with open_store(store) as reader:
        offset = reader._file["image"].id.get_offset()
        n_bytes = reader._file["image"][0].nbytes
    with open(store, "r+b") as file:  # the checksum of the dataset is not read
        file.seek(offset + 7 * n_bytes)
        file.write(np.full(n_bytes // 4, np.nan, np.float32).tobytes())
    out = astrodl.embed(trained_model("morphology") / "model.safetensors", store, tmp_path / "vectors.fits")
    values = Vectors(out).read()[1]
    assert np.flatnonzero(np.isnan(values).all(1)).tolist() == [7]
    found = astrodl.similar(store, out, "T003", k=39)
    assert len(found) == 38
    assert "T007" not in found["object_id"]
    assert "1 objects without a vector are left out" in capsys.readouterr().err
    with pytest.raises(StoreError, match="'T007' has no vector"):
        astrodl.similar(store, out, "T007")


def test_a_task_without_vectors_says_so(
    store: Path, trained_model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tasks.get("latent"), "embed")
    with pytest.raises(ConfigError, match="task latent: its networks make no vectors; give a model of another task"):
        astrodl.embed(trained_model("latent") / "model.safetensors", store, tmp_path / "vectors.fits")
    assert not (tmp_path / "vectors.fits").exists()


def test_what_embed_cannot_use_is_refused(store: Path, trained_model: TrainedModel, tmp_path: Path) -> None:
    model, out = trained_model("latent") / "model.safetensors", tmp_path / "vectors.fits"
    with pytest.raises(ConfigError, match="none is given"):
        astrodl.embed([], store, out)
    with pytest.raises(ConfigError, match="the same training as"):
        astrodl.embed([model, str(model)], store, out)
    with pytest.raises(ConfigError, match=r"must end in \.fits or \.parquet"):
        astrodl.embed(model, store, tmp_path / "vectors.npy")
    other = write_store(tmp_path / "other.h5", 20, order=(0, 1))
    with pytest.raises(StoreError, match="band 'i' is not in the store"):
        astrodl.embed(model, other, out)


def test_the_nearest_of_a_galaxy_are_listed_and_drawn(store: Path, vectors: Path, tmp_path: Path) -> None:
    sheet, out = tmp_path / "sheet.png", tmp_path / "near.ecsv"
    found = astrodl.similar(store, vectors, ["T003", "T010", "T003"], k=4, sheet=sheet, out=out)
    assert found.colnames == ["query", "rank", "object_id", "distance", "row"]
    assert found["query"].tolist() == ["T003"] * 4 + ["T010"] * 4
    assert found["rank"].tolist() == [1, 2, 3, 4] * 2
    assert [f"T{row:03d}" for row in found["row"]] == found["object_id"].tolist()
    assert not any(row["query"] == row["object_id"] for row in found)
    values = Vectors(vectors).read()[1].astype(float)
    spread = values.std(0)
    scaled = values[:, spread > 0] / spread[spread > 0]
    distance = np.sqrt(((scaled - scaled[3]) ** 2).sum(1))
    assert found["row"][:4].tolist() == np.argsort(distance)[1:5].tolist()
    np.testing.assert_allclose(found["distance"][:4], np.sort(distance)[1:5], rtol=1e-6)
    assert Table.read(out)["object_id"].tolist() == found["object_id"].tolist()
    assert sheet.stat().st_size > 10_000


def test_similar_refuses_what_it_cannot_do(store: Path, vectors: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no object 'T0033'; near names: T033, T003"):
        astrodl.similar(store, vectors, "T0033")
    with pytest.raises(StoreError, match="no object 'NGC 1300'; identifiers are like: T000, T001"):
        astrodl.similar(store, vectors, "NGC 1300")
    with pytest.raises(ConfigError, match="k = 0: must be a whole number of at least 1"):
        astrodl.similar(store, vectors, "T003", k=0)
    with pytest.raises(ConfigError, match="must be one of standardized, whitened, euclidean"):
        astrodl.similar(store, vectors, "T003", metric="cosine")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"must end in \.csv or \.ecsv"):
        astrodl.similar(store, vectors, "T003", out=tmp_path / "near.txt")
    with pytest.raises(ConfigError, match="none is given"):
        astrodl.similar(store, vectors, [])
    with pytest.raises(ConfigError, match="is an input of this step"):
        astrodl.similar(store, vectors, "T003", sheet=vectors)
    with pytest.raises(StoreError, match="made from another store"):
        astrodl.similar(write_store(tmp_path / "other.h5", 30), vectors, "T003")


def test_both_verbs_run_from_the_command_line(
    store: Path, trained_model: TrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, models = (
        str(tmp_path / "vectors.parquet"),
        [str(trained_model(n) / "model.safetensors") for n in ("votes", "photoz")],
    )
    assert main(["embed", *models, str(store), "--out", out, "--device", "cpu"]) == 0
    assert main(["check", out]) == 0
    capsys.readouterr()
    assert main(["similar", str(store), out, "T003", "T004", "-k", "2", "--metric", "whitened"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["query", "rank", "object_id", "distance"]
    assert len(lines) == 6
    assert main(["similar", str(store), out, "T3"]) == 2
    assert "no object 'T3'" in capsys.readouterr().err
