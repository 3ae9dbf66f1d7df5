"""The latent map: comparisons of views with their reconstructions."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import astrodl
from astrodl import load_model, open_store
from astrodl.config import parse
from astrodl.data.batches import ResidentDataset
from astrodl.data.nuisances import draw_interpolated_noise
from astrodl.errors import ConfigError, StoreError
from astrodl.losses import ssim
from astrodl.models.representation import LatentNetwork
from astrodl.tasks.latent import Latent
from astrodl.tasks.latent.methods import METHODS, Method
from tests.small_task import make_task, read_batch

SMALL: dict[str, Any] = {
    "method": "variational", "dimensions": 2, "view": 16, "widths": [8, 16], "effective_pixels": 1.0, "beta": 0.0,
    "noise_floor": 0.5,
}  # fmt: skip
COMPARISONS = ("gaussian", "mse", "l1", "ssim")
N = 24


def errors(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sky noise after the arsinh, by the propagation of small errors, between a thousandth and ten."""
    return (batch["noise"][..., None, None] / torch.sqrt(1 + torch.sinh(batch["image"]) ** 2)).clamp(1e-3, 10)


class ConstantAutoencoder(torch.nn.Module):
    """Returns the same reconstruction for every image."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return torch.full_like(image, 0.25), torch.zeros(len(image), 2), torch.zeros(len(image), 2)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_the_loss_of_a_comparison_is_its_formula(store: Path, comparison: str) -> None:
    task = make_task("latent", store, {**SMALL, "reconstruction": comparison})
    batch = read_batch(task, store, N)
    difference = (batch["image"] - 0.25).double()
    sigma = torch.sqrt(errors(batch).double() ** 2 + 0.25)
    expected = {
        "gaussian": 0.5 * (difference / sigma).square().mean(),
        "mse": 0.5 * (difference / 0.5).square().mean(),
        "l1": (difference.abs() / sigma).mean(),
        "ssim": torch.stack(
            [
                1 - ssim(image[None], torch.full_like(image[None], 0.25), max(1.0, float(image.max())))[0]
                for image in batch["image"]
            ]
        ).mean(),
    }
    network = LatentNetwork(ConstantAutoencoder(), 2)
    loss, _ = task.loss(network, batch, "main", 1.0)
    assert float(loss) == pytest.approx(float(expected[comparison]), rel=1e-4)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_training_reduces_the_loss_of_every_comparison(store: Path, comparison: str) -> None:
    task = make_task("latent", store, {**SMALL, "reconstruction": comparison})
    batch = read_batch(task, store, N)
    torch.manual_seed(0)
    network = task.build()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = task.loss(network, batch, "main", 1.0)[0]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.8 * losses[0]


def test_a_view_smaller_than_the_window_of_ssim_is_an_error() -> None:
    with pytest.raises(ConfigError, match="set view to 16 or more"):
        parse(Latent.Settings, {"view": 8, "reconstruction": "ssim"})


def test_bands_have_their_own_unit_unless_the_store_is_calibrated(store: Path, tmp_path: Path) -> None:
    gains = np.array([1e4, 1.0, 1e-4], np.float32)
    inputs = []
    for name, gain in (("same", np.ones(3, np.float32)), ("other", gains)):
        path = Path(shutil.copy(store, tmp_path / f"{name}.h5"))
        with h5py.File(path, "r+") as file:
            file.attrs["unit"] = "relative"
            file["image"][:] = file["image"][:] * gain[:, None, None]
            file["sky_sigma"][:] = file["sky_sigma"][:] * gain
        task = make_task("latent", path, SMALL)
        inputs.append(read_batch(task, path, N))
    assert "units" not in make_task("latent", store, SMALL).context.constants
    for key in ("image", "noise", "structure"):
        torch.testing.assert_close(inputs[0][key], inputs[1][key], rtol=1e-3, atol=1e-3)
    assert (inputs[1]["image"][1:].abs().amax((0, 2, 3)) > 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_predicts(method: str, store: Path, tmp_path: Path) -> None:
    settings = {
        "method": method, "dimensions": 3, "view": 16, "widths": [8, 16],
        "train": {"epochs": 6, "batch_size": 16, "learning_rate": 0.003},
    }  # fmt: skip
    path = astrodl.train("latent", store, tmp_path, settings=settings, progress=False)
    losses = [json.loads(line)["train"]["loss"] for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    model = load_model(path)
    with open_store(store) as reader:
        predicted = model.raw(model.task.read(reader, np.arange(N)))
    assert {name: array.shape for name, array in predicted.items() if name != "input_flags"} == {
        "latent": (N, 3), "latent_error": (N, 3), "map": (N, 2), "hubble": (N,), "hubble_error": (N,), "chi2": (N,),
    }  # fmt: skip
    assert all(np.isfinite(array).all() for array in predicted.values())
    assert (predicted["hubble_error"] > 0).all()


def test_the_error_of_a_vector_is_the_scatter_under_noise(store: Path) -> None:
    """A linear encoder moves by the noise times its weights."""
    task = make_task("latent", store, {"method": "linear", "dimensions": 2, "view": 16})
    batch = read_batch(task, store, N)
    torch.manual_seed(0)
    network = task.build().eval()
    with torch.no_grad():
        found = task.predict(network, batch)["latent_error"]
        shape = batch["image"].shape
        weight = network.core.encoder.weight.view(2, *shape[1:])
        expected = torch.sqrt(torch.einsum("dbyx,nbyx->nd", weight**2, errors(batch) ** 2))
    # four patterns, the same for every object, give the width to half of it
    ratio = (found / expected).numpy()
    assert ((ratio > 0.3) & (ratio < 2.2)).mean() > 0.9


def test_views_are_changed_only_by_the_nuisances_of_the_method(store: Path) -> None:
    none, structure, siamese = (
        make_task("latent", store, {"method": name, "view": 16}) for name in ("autoencoder", "structure", "simclr")
    )
    batch = read_batch(none, store, N)
    assert none.augment(batch) is batch
    changed = structure.augment(batch)
    assert not torch.equal(changed["seen"], batch["image"])
    torch.testing.assert_close(changed["image"], batch["image"], rtol=0, atol=0)
    two = siamese.augment(batch)
    assert not torch.equal(two["seen"], two["second"])


def test_no_nuisance_acts_unless_a_method_names_it() -> None:
    assert not any(value for _, value in Method.nuisances)
    acting = {name for name, value in METHODS["structure"].nuisances if value}
    assert acting == {"mirror", "quarter_turns", "shift_pixels", "noise"}


def test_the_units_of_a_variational_method_are_described(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**SMALL, "train": {"epochs": 3, "batch_size": 16, "learning_rate": 0.003}}
    astrodl.train("latent", store, tmp_path, settings=settings, progress=False)
    assert "latent: 2 of 2 units are active" in capsys.readouterr().err


def test_a_hubble_coordinate_of_unsure_direction_is_warned_of(store: Path) -> None:
    task = make_task("latent", store, {"view": 16, "widths": [8, 16], "dimensions": 3})
    batch = read_batch(task, store, N)
    batch["concentration"] = torch.full((N,), torch.nan)
    with torch.no_grad(), pytest.warns(UserWarning, match="0 training objects have .* may run the wrong way"):
        task.calibrate(
            task.build().eval(), ResidentDataset({k: v.numpy() for k, v in batch.items()}, torch.device("cpu")), None
        )


class _KnowsDepth(torch.nn.Module):
    """Codes grow with the logarithm of the noise of a view, and with its flux."""

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        noise = image.sinh()[:, :, ::2, ::2].std((1, 2, 3)).log()
        return torch.stack([3 * noise, image.mean((1, 2, 3))], 1)


def test_the_response_of_codes_to_noise_is_measured_and_taken_off(store: Path) -> None:
    task = make_task("latent", store, {"method": "structure", "dimensions": 2, "view": 16})
    batch = read_batch(task, store, N)
    level = torch.linspace(-1, 1, N).exp()
    noise = level[:, None].expand(batch["noise"].shape).contiguous()
    draws = torch.Generator().manual_seed(1)
    image = noise[..., None, None] * draw_interpolated_noise(batch["image"], draws)
    sky = {**batch, "image": image.asinh(), "noise": noise}
    network = LatentNetwork(_KnowsDepth(), 2)
    with torch.no_grad():
        assert torch.equal(network.shift_of_depth(noise), torch.zeros(N, 2))
        task._fit_depth(network, [sky])
        codes = network.core.encode(sky["image"])
        freed = codes - network.shift_of_depth(noise)
        beyond = network.shift_of_depth(torch.stack([noise[-1], 100 * noise[-1]]))
    slopes = [np.polyfit(level.log().numpy(), values[:, 0].numpy(), 1)[0] for values in (codes, freed)]
    assert slopes[0] == pytest.approx(3, abs=0.3)
    assert abs(slopes[1]) < 0.5
    torch.testing.assert_close(beyond[0], beyond[1])


def test_depth_stays_in_the_codes_of_other_methods(store: Path) -> None:
    acting = {name for name, method in METHODS.items() if method.removes_depth}
    assert acting == {"structure", "anchored"}


@pytest.mark.parametrize("method", ["structure", "variational"])
def test_figures_of_the_decoder_are_drawn_with_the_model(store: Path, tmp_path: Path, method: str) -> None:
    settings = {**SMALL, "method": method, "beta": 1.0, "train": {"epochs": 1, "batch_size": 16}}
    settings["nuisances"] = {"depth": 0, "blur": 0, "rotate": 0, "zoom": 0, "band_dropout": 0, "shift_pixels": 0}
    files = [tmp_path / name / "model.safetensors" for name in ("a", "b")]
    for seed, path in enumerate(files):
        astrodl.train("latent", store, path.parent, settings=settings, seed=seed, progress=False)
    astrodl.predict("latent", store, files[0], tmp_path / "p.h5", progress=False)
    arguments = ("latent", store, tmp_path / "p.h5", None, tmp_path / "m.json")
    with pytest.raises(StoreError, match=r"did not make the predictions .* give the models that did"):
        astrodl.evaluate(*arguments, models=files[1])
    astrodl.evaluate(*arguments, models=files[0], figures=tmp_path / "f")
    found = {path.stem for path in (tmp_path / "f").glob("*.png")}
    of_decoder = {"redrawn", "reconstruction", "traversals", "interpolations"}
    of_prior = {"units", "generated", "generated_form"}
    assert of_decoder <= found
    assert (of_prior <= found) if method == "variational" else not (of_prior & found)


@pytest.mark.parametrize("n_objects", [0, 1, 2, 3])
@pytest.mark.parametrize("method", ["structure", "variational"])
def test_figures_of_the_decoder_are_drawn_of_few_objects(store: Path, method: str, n_objects: int) -> None:
    task = make_task("latent", store, {**SMALL, "method": method})
    network, random = task.build().eval(), np.random.default_rng(0)
    values = {"latent": random.normal(size=(n_objects, 2)), "latent_error": np.full((n_objects, 2), 0.1)}
    predictions = {**values, "hubble": random.normal(size=n_objects)}
    with open_store(store) as reader:
        found = task.diagnose(network, reader, np.arange(n_objects), predictions)
    assert ("traversals" in found) == (n_objects > 0)
    assert ("interpolations" in found) == (n_objects > 1)
