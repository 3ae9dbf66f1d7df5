"""The start of a latent map at principal components."""

from pathlib import Path

import pytest
import torch

import astrodl
from astrodl import load_model
from astrodl.models.representation import PooledEncoder
from astrodl.tasks.latent.anchor import start_at_components
from tests.small_task import make_task, read_batch

WEIGHT = 2.5
SETTINGS = {"method": "anchored", "view": 16, "widths": [8, 16], "view_weight": WEIGHT}


def start(store: Path, dimensions: int, n_objects: int) -> tuple[PooledEncoder, dict[str, torch.Tensor]]:
    """Return a network that has started at the components of the first objects, and their arrays."""
    task = make_task("latent", store, {**SETTINGS, "dimensions": dimensions})
    batch = read_batch(task, store, n_objects)
    torch.manual_seed(0)
    network = task.build().eval().core
    assert isinstance(network, PooledEncoder)
    start_at_components(network, batch["structure"], batch["image"], task.method.scaling, WEIGHT)
    return network, batch


@pytest.mark.parametrize("n_objects", [24, 3])
def test_the_network_starts_as_the_truncated_singular_values_of_both(store: Path, n_objects: int) -> None:
    """Also where there are fewer objects than dimensions."""
    network, batch = start(store, 4, n_objects)
    images = batch["image"].double().flatten(1)
    centre = images.mean(0)
    total = (images - centre).square().sum(1).mean().sqrt()
    joint = torch.cat([batch["structure"].double(), WEIGHT**0.5 * (images - centre) / total], 1)
    mean = joint.mean(0)
    u, s, v = torch.linalg.svd(joint - mean, full_matrices=False)
    n = min(4, n_objects - 1)
    expected = mean + (u[:, :n] * s[:n]) @ v[:n]
    with torch.no_grad():
        structure, code = network(batch["image"])
        drawn = network.decoder(code)
    found = [structure, WEIGHT**0.5 * (drawn.flatten(1) - centre) / total]
    for array, part in zip(found, expected.split([structure.shape[1], images.shape[1]], 1), strict=True):
        torch.testing.assert_close(array.double(), part, rtol=1e-3, atol=1e-3)
    assert not code[:, n:].any()
    missed = ((drawn.flatten(1) - images) / total).square().sum(1).mean()
    assert network.get_submodule("anchor").view_error.item() == pytest.approx(missed.item(), abs=1e-4)
    assert network.get_submodule("anchor").view_scale.item() == pytest.approx(total.item(), rel=1e-5)


def test_the_loss_starts_at_what_the_components_leave(store: Path) -> None:
    task = make_task("latent", store, {**SETTINGS, "dimensions": 4})
    batch = read_batch(task, store, 24)
    network = task.build().eval()
    start_at_components(network.core, batch["structure"], batch["image"], task.method.scaling, WEIGHT)
    with torch.no_grad():
        loss, terms = task.loss(network, batch, "train", 0.0)
    assert terms["view"].item() == pytest.approx(0, abs=1e-3)
    total = terms["structure"] + WEIGHT * terms["view"] + terms["reconstruction"]
    torch.testing.assert_close(loss, total)


def test_an_anchor_is_not_trained_and_kept_from_the_network_that_a_training_starts_from(
    store: Path, tmp_path: Path
) -> None:
    settings = {**SETTINGS, "dimensions": 3, "train": {"epochs": 1, "batch_size": 16}}
    path = astrodl.train("latent", store, tmp_path / "a", settings=settings, progress=False)
    first = load_model(path).network.core
    started, _ = start(store, 3, 24)
    assert first.anchor.of_pixels.weight.abs().max() > 0
    assert not torch.equal(first.code.weight, started.code.weight)
    again = astrodl.train(
        "latent",
        store,
        tmp_path / "b",
        settings={**settings, "init_from": str(path), "view_weight": 1.0},
        progress=False,
    )
    second = load_model(again).network.core
    for name in ("of_structure.weight", "of_pixels.weight", "of_pixels.bias"):
        torch.testing.assert_close(second.anchor.get_parameter(name), first.anchor.get_parameter(name), rtol=0, atol=0)


def test_only_this_method_has_an_anchor_and_a_linear_decoder(store: Path) -> None:
    cores = {
        name: make_task("latent", store, {**SETTINGS, "method": name}).build().core
        for name in ("structure", "anchored")
    }
    assert [core.anchor is None for core in cores.values()] == [True, False]
    names = {name: set(core.decoder.state_dict()) for name, core in cores.items()}
    assert {f"correction.{part}" for part in names["structure"]} < names["anchored"]
