"""Residuals of the outlier network."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from astrodl import distributed
from astrodl.errors import ConfigError
from astrodl.store import open_store
from astrodl.tasks.model import load_model
from astrodl.tasks.outliers.adversarial import METHODS, mix_codes
from astrodl.tasks.outliers.generated import describe_health
from astrodl.tasks.outliers.health import COLLAPSED, measure_health
from astrodl.tasks.outliers.representation import describe_model
from astrodl.tasks.outliers.residual import compare_features
from astrodl.tasks.outliers.settings import DEFAULT_PARTS, PARTS
from tests.small_task import make_task, read_cutouts, read_split, small_settings, train_model


def test_pixels_without_data_have_no_residual(store: Path) -> None:
    task = make_task("outliers", store, small_settings("outliers"))
    cutouts = read_cutouts(store, 6).slice(5, 6)
    cutouts.images[:, 1] = np.nan
    batch = {name: torch.from_numpy(array) for name, array in task.inputs(cutouts).items()}
    with torch.no_grad():
        residuals, _ = task._residuals(task.build().eval(), batch)
    # Three regions of three bands each, then the critic; the logarithm of a zero residual is that of the floor.
    band_residuals = residuals[:, :9].reshape(3, 3)[:, 1]
    assert torch.equal(band_residuals, torch.full((3,), float(np.log(np.float32(1e-4)))))


@pytest.mark.parametrize("n_objects", [16, 18])
def test_ranks_divide_encoded_and_drawn_latents_like_one_process(
    n_objects: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = torch.randn(n_objects, 4)
    torch.manual_seed(1)
    whole = mix_codes(codes)
    assert int((whole == codes).all(1).sum()) == n_objects // 2
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        torch.manual_seed(1)
        torch.testing.assert_close(mix_codes(codes[rank::2]), whole[rank::2], rtol=0, atol=0)


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
    parts = np.stack([found[part] for part in DEFAULT_PARTS])
    np.testing.assert_allclose(found["score"], parts.sum(0), rtol=1e-5)
    columns = {column.name: column.values for column in model.task.columns(found)}
    assert (columns["outliers_reason"] == np.array(DEFAULT_PARTS)[parts.argmax(0)]).all()
    measured = [part for part in PARTS if not part.startswith("representation")]
    assert {f"outliers_{part}" for part in (*measured, "artefact")} <= columns.keys()
    generated = model.task.context.constants["generated"]
    assert generated["diversity"] > 0


def test_excluded_kinds_that_do_not_exist_are_refused(store: Path) -> None:
    with pytest.raises(ConfigError, match=r"tasks.outliers.exclude"):
        make_task("outliers", store, {**small_settings("outliers"), "exclude": ["nothing"]})


def test_the_critic_sees_a_change_of_the_image_and_no_other_noise(store: Path) -> None:
    task = make_task("outliers", store, small_settings("outliers"))
    network = task.build().eval()
    batch = read_split(task, store, "train").batch(torch.arange(4))

    def compare(image: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        return compare_features(network.critic, image, drawn, batch["sky"], task.context.normalization.stretch)

    with torch.no_grad():
        first = compare(batch["image"], batch["image"])
        torch.manual_seed(1)
        torch.testing.assert_close(compare(batch["image"], batch["image"]), first)
        changed = compare(batch["image"], batch["image"] + 1)
        without_data = compare(torch.zeros_like(batch["image"]), batch["image"])
    assert first.shape == (4, 1)
    assert (changed > first).all()
    torch.testing.assert_close(without_data, torch.full((4, 1), float(np.log(np.float32(1e-12)))))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_every_method_moves_critic_and_generator(method: str, spectral_norm: bool, store: Path) -> None:
    task = make_task(
        "outliers", store, {**small_settings("outliers"), "method": method, "spectral_norm": spectral_norm}
    )
    network, batch = task.build().train(), read_split(task, store, "train").batch(torch.arange(8))
    for phase in task.phases:
        network.zero_grad()
        loss, terms = task.loss(network, batch, phase, 1.0)
        loss.backward()
        assert torch.isfinite(loss)
        assert sum(float(parameter.grad.abs().sum()) for parameter in task.parameters(network, phase)) > 0
    assert ("information" in terms) == (method == "infogan")
    if method == "wgan":
        assert max(float(parameter.detach().abs().max()) for parameter in network.critic.parameters()) <= 0.01 + 1e-7


def test_losses_of_the_methods_are_those_of_the_papers() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])
    cross_entropy = -(torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean())
    torch.testing.assert_close(METHODS["gan"].critic(real, fake), cross_entropy)
    torch.testing.assert_close(METHODS["gan"].realism(fake), torch.sigmoid(fake).log().mean())
    assert METHODS["wgan"].critic(real, fake) == -1.0  # minus the distance of the means
    assert METHODS["wgan_gp"].realism(fake) == 0.0


def test_health_sees_a_collapsed_generator_and_the_gradient_of_a_linear_critic() -> None:
    critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1), torch.nn.Flatten(0))
    with torch.no_grad():
        critic[1].weight.fill_(0.5)
    real, alike = torch.randn(40, 3, 2, 2), torch.ones(40, 3, 2, 2)
    drawn, noisy = torch.randn(40, 3, 2, 2), torch.zeros(40, 3, 2, 2)
    healthy = {name: float(value.detach()) for name, value in measure_health(critic, real, real, drawn, noisy).items()}
    assert 0.7 < healthy["diversity"] < 1.4
    assert healthy["gradient"] == pytest.approx(0.5 * 12**0.5)
    assert healthy["distance"] == pytest.approx(6 * float(real.mean()), abs=1e-4)
    assert measure_health(critic, real, real, alike, alike)["diversity"] == 0 < COLLAPSED


def test_vectors_of_another_model_and_a_flow_are_parts_and_the_file_stands_alone(
    trained_model: Callable[[str], Path], store: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "latent.safetensors"
    copied.write_bytes((trained_model("latent") / "model.safetensors").read_bytes())
    parts = ["features", "representation", "representation_density", "flow"]
    settings = {**small_settings("outliers", epochs=1), "representation": str(copied), "parts": parts}
    train_model("outliers", store, tmp_path / "trained", settings)
    source = load_model(copied)
    copied.unlink()
    model = load_model(tmp_path / "trained" / "model.safetensors")
    with open_store(store) as reader:
        cutouts = model.task.read(reader, np.arange(12))
    found = model.task.finish(model.raw(cutouts))
    assert {f"outliers_{part}" for part in PARTS} <= {column.name for column in model.task.columns(found)}
    np.testing.assert_allclose(found["score"], np.sum([found[part] for part in parts], axis=0), rtol=1e-5)
    arrays = {name: torch.from_numpy(array) for name, array in model.task.inputs(cutouts).items()}
    added = model.task._representation.add_vectors(model.network.representation, arrays)
    inputs = {name: torch.from_numpy(array) for name, array in source.task.inputs(cutouts).items()}
    with torch.no_grad():
        torch.testing.assert_close(added["vector"], source.task.embed(source.network, inputs).float())


def test_a_representation_of_other_bands_is_refused(trained_model: Callable[[str], Path], store: Path) -> None:
    with pytest.raises(ConfigError, match=r"give its path in representation"):
        make_task("outliers", store, {**small_settings("outliers"), "parts": ["representation"]})
    with open_store(store) as reader:
        other = SimpleNamespace(bands=("u", *reader.bands[1:]), unit=reader.unit, size=reader.size, path="other.h5")
    with pytest.raises(ConfigError, match=r"is of bands .* other.h5 has u"):
        describe_model(str(trained_model("latent") / "model.safetensors"), other)


def test_sheets_of_generated_galaxies_are_written_during_the_training(store: Path, tmp_path: Path) -> None:
    (tmp_path / "progress").mkdir()
    (tmp_path / "progress" / "epoch0099.png").touch()
    train_model("outliers", store, tmp_path, small_settings("outliers", epochs=6))
    assert [path.name for path in sorted((tmp_path / "progress").iterdir())] == [
        f"epoch{epoch:04d}.png" for epoch in (2, 4, 6)
    ]


def test_a_collapse_is_said_in_the_report_and_not_of_a_handful_of_galaxies() -> None:
    judged = {"diversity": 0.1, "frechet": 3.0, "frechet_real": 0.2}
    assert "COLLAPSED" in describe_health({**judged, "n_objects": 200})
    assert "COLLAPSED" not in describe_health({**judged, "n_objects": 5})
    assert "COLLAPSED" not in describe_health({**judged, "diversity": 0.9, "n_objects": 200})
