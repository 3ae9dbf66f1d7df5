"""Residuals of the outlier network."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from astrodl import distributed
from astrodl.errors import ConfigError
from astrodl.store import open_store
from astrodl.tasks.outliers import Outliers
from tests.small_task import make_task, read_cutouts, read_split, small_settings, train_model


def test_pixels_without_data_have_no_residual(store: Path) -> None:
    task = make_task("outliers", store, small_settings("outliers"))
    cutouts = read_cutouts(store, 6).slice(5, 6)
    cutouts.images[:, 1] = np.nan
    batch = {name: torch.from_numpy(array) for name, array in task.inputs(cutouts).items()}
    with torch.no_grad():
        residuals, _ = task._residuals(task.build().eval(), batch)
    # Three regions of three bands each; the logarithm of a zero residual is that of the floor.
    band_residuals = residuals.reshape(3, 3)[:, 1]
    assert torch.equal(band_residuals, torch.full((3,), float(np.log(np.float32(1e-4)))))


@pytest.mark.parametrize("n_objects", [16, 18])
def test_ranks_divide_encoded_and_drawn_latents_like_one_process(
    n_objects: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, network = torch.randn(n_objects, 4), SimpleNamespace(encoder=lambda images: images)
    latents = partial(Outliers._latents, None, network)
    torch.manual_seed(1)
    whole = latents(codes)
    assert int((whole == codes).all(1).sum()) == n_objects // 2
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        torch.manual_seed(1)
        torch.testing.assert_close(latents(codes[rank::2]), whole[rank::2], rtol=0, atol=0)


def test_without_validation_objects_the_percentile_is_nan_with_a_warning(store: Path) -> None:
    task = make_task("outliers", store, small_settings("outliers"))
    network, train = task.build().eval(), read_split(task, store, "train")
    with torch.no_grad(), pytest.warns(UserWarning, match="outliers_percentile is NaN"):
        task.context.constants.update(task.calibrate(network, train, None))
    with torch.no_grad():
        predicted = task.predict(network, train.batch(torch.arange(5)))
    assert predicted["percentile"].isnan().all()
    assert predicted["score"].isfinite().all()


def test_a_trained_model_gives_parts_score_and_reason(store: Path, tmp_path: Path) -> None:
    model = train_model("outliers", store, tmp_path, small_settings("outliers", epochs=1))
    assert len(model.network.neighbours.space0) == model.task.context.constants["n_references"] > 0
    with open_store(store) as reader:
        cutouts = model.task.read(reader, np.arange(20))
    raw = model.raw(cutouts)
    found = model.task.finish(raw)
    parts = np.stack([found["residual"], found["features"], found["structure"]])
    np.testing.assert_allclose(found["score"], parts.sum(0), rtol=1e-5)
    assert (found["reason"] == parts.argmax(0)).all()
    columns = {column.name: column.values for column in model.task.columns(found)}
    assert set(columns["outliers_reason"]) <= {"residual", "features", "structure"}


def test_excluded_kinds_that_do_not_exist_are_refused(store: Path) -> None:
    with pytest.raises(ConfigError, match=r"tasks.outliers.exclude"):
        make_task("outliers", store, {**small_settings("outliers"), "exclude": ["nothing"]})
