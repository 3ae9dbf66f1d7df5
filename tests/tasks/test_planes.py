"""Optional planes of the store reach the tasks that ask for them, in training, prediction and from arrays."""

import shutil
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest

from astrodl.data.batches import Cutouts
from astrodl.pipeline import objects
from astrodl.store import open_store
from astrodl.tasks.base import Arrays
from astrodl.tasks.latent import Latent, LatentSettings
from astrodl.tasks.model import Model
from tests.small_store import BANDS, N_OBJECTS, SIZE


class WithPsf(Latent):
    """A task that takes the point-spread function."""

    planes: ClassVar = ("psf", "variance")

    def inputs(self, cutouts: Cutouts) -> Arrays:
        return {**super().inputs(cutouts), **cutouts.planes}


@pytest.fixture(scope="module")
def store_with_psf(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copy(store, tmp_path_factory.mktemp("planes")))
    with h5py.File(path, "r+") as file:
        numbers = np.arange(N_OBJECTS * len(BANDS), dtype=np.float32).reshape(N_OBJECTS, len(BANDS), 1, 1)
        file["psf"] = np.broadcast_to(numbers, (N_OBJECTS, len(BANDS), 5, 5))
    return path


def test_a_task_reads_the_planes_that_it_names_and_the_store_has(store_with_psf: Path) -> None:
    settings = LatentSettings.model_validate(Latent.small)
    with open_store(store_with_psf) as reader:
        task = WithPsf(settings, objects.fit_context(WithPsf, settings, reader))
        indices = np.array([3, 5])
        arrays = objects.training_arrays(task, reader, indices)
        assert set(arrays) == {"image", "noise", "structure", "concentration", "psf"}
        np.testing.assert_array_equal(arrays["psf"][:, :, 0, 0], [[9, 10, 11], [15, 16, 17]])
        plain = Latent(settings, task.context)
        assert "psf" not in objects.training_arrays(plain, reader, indices)
        cutouts = task.read(reader, indices)
    assert cutouts.slice(1, 2).planes["psf"].shape == (1, len(BANDS), 5, 5)


def test_planes_are_read_in_the_bands_of_the_model(store_with_psf: Path) -> None:
    settings = LatentSettings.model_validate(Latent.small)
    with open_store(store_with_psf) as reader:
        context = objects.fit_context(WithPsf, settings, reader)
        some_bands = WithPsf(settings, type(context)(**{**vars(context), "bands": ("i", "g")}))
        cutouts = some_bands.read(reader, np.array([1]))
    np.testing.assert_array_equal(cutouts.planes["psf"][:, :, 0, 0], [[5, 3]])


def test_a_model_takes_planes_from_arrays(store_with_psf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LatentSettings.model_validate(Latent.small)
    with open_store(store_with_psf) as reader:
        task = WithPsf(settings, objects.fit_context(WithPsf, settings, reader))
        images = reader.images([0, 1])
    taken: list[Arrays] = []
    monkeypatch.setattr(Latent, "predict", lambda self, network, batch: taken.append(batch) or {"latent": batch["psf"]})
    psf = np.ones((2, len(BANDS), 5, 5), np.float32)
    assert images.shape == (2, len(BANDS), SIZE, SIZE)
    Model(task, task.build()).predict(images, planes={"psf": psf})
    assert taken[0]["psf"].shape == psf.shape
