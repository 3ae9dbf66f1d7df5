"""Resident, streamed, straight from the file: the same numbers, whichever way they come."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors import safe_open

import astrodl
from astrodl import device, tasks
from astrodl.data import batches
from astrodl.data.batches import Cutouts, Direct, Resident, Streamed, load
from astrodl.errors import StoreError
from astrodl.pipeline import objects
from astrodl.store import Reader
from astrodl.tasks.model import load_model
from astrodl.training import loop
from tests.small_store import N_OBJECTS, write_store
from tests.tasks.test_contract import small

CPU = torch.device("cpu")
ROWS = np.array([7, 3, 3, 88, 0])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.h5")


def numbers(indices: np.ndarray) -> dict[str, np.ndarray]:
    """Give something that tells every object from every other."""
    image = np.sin(np.arange(12.0) * indices[:, None]).reshape(-1, 3, 2, 2)
    return {"image": image.astype(np.float32), "z": indices}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return set(first) == set(second) and all(
        torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first
    )


# -- straight from the file -------------------------------------------------------------------------------------------


def test_a_mapped_store_reads_what_the_plain_reader_does(store: Path) -> None:
    with Direct(store) as direct, Reader(store) as plain:
        for read in (
            lambda s: s.images(ROWS),
            lambda s: s.images(np.arange(N_OBJECTS) % 2 == 0),
            lambda s: s.images(),
            lambda s: s.images([]),
            lambda s: s.images(np.arange(5, 50)),
            lambda s: s.images([3, 4, 5, 2, 3, 9, 10]),
            lambda s: s.label("clump", ROWS),
            lambda s: s.features(),
            lambda s: s.features(indices=ROWS),
            lambda s: s.features(s.feature_names[2:4], ROWS),
            lambda s: s.sky_sigma,
            lambda s: s.column("class"),
            lambda s: s.column("class", ROWS),
            lambda s: s.column("z", ROWS),
        ):
            first, second = read(direct), read(plain)
            assert first.dtype == second.dtype
            np.testing.assert_array_equal(first, second)


def test_a_mapped_store_refuses_rows_that_it_does_not_have(store: Path) -> None:
    with Direct(store) as direct, pytest.raises(IndexError, match="the store has 90 objects"):
        direct.images([90])


def test_a_file_that_is_cut_short_while_in_use_is_an_error(store: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.h5"
    cut.write_bytes(store.read_bytes())
    with Direct(cut) as direct:
        os.truncate(cut, 100_000)
        with pytest.raises(StoreError, match="damaged while in use"):
            direct.images([0, N_OBJECTS - 1])


def test_changing_a_column_that_was_read_changes_no_later_one(store: Path) -> None:
    with Direct(store) as direct:
        direct.column("z")[:] = -1
        assert (direct.column("z") > 0).all()


def test_a_chunked_dataset_is_read_by_the_library(store: Path, tmp_path: Path) -> None:
    chunked = tmp_path / "chunked.h5"
    chunked.write_bytes(store.read_bytes())
    with h5py.File(chunked, "r+") as file:
        images = file["image"][:]
        attributes = dict(file["image"].attrs)
        del file["image"]
        file.create_dataset("image", data=images, chunks=(8, *images.shape[1:])).attrs.update(attributes)
    with Direct(chunked) as direct:
        np.testing.assert_array_equal(direct.images(ROWS), images[ROWS])


# -- batches ----------------------------------------------------------------------------------------------------------


def test_resident_tensors_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    indices = np.arange(100)[::-1].copy()
    whole = Resident.prepared(numbers, indices, CPU)
    monkeypatch.setattr(batches, "BLOCK", 7)
    assert same(dict(whole.tensors), dict(Resident.prepared(numbers, indices, CPU).tensors))
    assert len(whole) == 100


@pytest.mark.parametrize("size", [1, 8, 50, 1000])
def test_streamed_batches_are_the_resident_ones(size: int) -> None:
    indices = np.arange(10, 60)
    resident, streamed = Resident.prepared(numbers, indices, CPU), Streamed(numbers, indices, CPU)
    assert len(resident) == len(streamed) == 50
    order = loop.order_of_epoch(50, 3, 1, CPU)
    for give in (lambda data: data.batches(order.split(size)), lambda data: data.in_order(size)):
        pairs = list(zip(give(resident), give(streamed), strict=True))
        assert len(pairs) == -(-50 // size)
        assert all(same(first, second) for first, second in pairs)
    assert same(resident.batch(order[:5]), streamed.batch(order[:5]))
    assert same(dict(resident.tensors), dict(streamed.tensors))


def test_few_batches_are_prepared_ahead_and_none_after_the_last_is_taken() -> None:
    calls: list[int] = []

    def prepare(indices: np.ndarray) -> dict[str, np.ndarray]:
        calls.append(len(indices))
        return numbers(indices)

    before = threading.active_count()
    given = Streamed(prepare, np.arange(1000), CPU).batches(torch.arange(1000).split(10))
    next(given)
    time.sleep(0.05)
    assert 1 < len(calls) <= batches.AHEAD + 2
    given.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_while_preparing_reaches_the_caller() -> None:
    def prepare(indices: np.ndarray) -> dict[str, np.ndarray]:
        if 25 in indices:
            raise OSError("the disk is gone")
        return numbers(indices)

    with pytest.raises(OSError, match="the disk is gone"):
        list(Streamed(prepare, np.arange(100), CPU).in_order(10))


def test_what_does_not_fit_is_streamed_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = {"train": np.arange(60), "validation": np.arange(0)}
    needed = 60 * (48 + 8)
    for memory, kind in ((2 * needed, Resident), (2 * needed - 1, Streamed)):
        monkeypatch.setattr(batches, "memory_bytes", lambda device, memory=memory: memory)
        loaded = load(numbers, splits, CPU)
        assert {type(data) for data in loaded.values()} == {kind}
        assert [len(data) for data in loaded.values()] == [60, 0]
        assert ("60 objects need" in capsys.readouterr().err) == (kind is Streamed)


@pytest.mark.parametrize(
    ("line", "folder", "name"),
    [
        ("0::/slurm/job_1/step_0", "slurm/job_1", "memory.max"),
        ("4:memory:/slurm/job_1", "memory/slurm/job_1", "memory.limit_in_bytes"),
        ("4:memory:/elsewhere", "memory", "memory.limit_in_bytes"),
    ],
)
def test_the_limit_of_a_batch_job_counts_as_memory(tmp_path: Path, line: str, folder: str, name: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"9:cpu:/x\n{line}\n")
    assert list(device._group_limits(tmp_path)) == []
    (tmp_path / "sys/fs/cgroup" / folder).mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup" / folder / name).write_text("123456\n")
    assert list(device._group_limits(tmp_path)) == [123456]


def test_the_memory_of_this_machine_is_found() -> None:
    assert 1e8 < device.memory_bytes(CPU) < 1e14


# -- the tasks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tasks.NAMES)
def test_inputs_of_an_object_do_not_depend_on_the_others_nor_on_autocast(name: str, store: Path) -> None:
    kind = tasks.get(name)
    settings = kind.Settings.model_validate(small(name))
    with Direct(store) as reader:
        task = kind(settings, objects.fit_context(kind, settings, reader))
        indices = objects.labelled(kind, settings, reader, "train")

        def prepare(rows: np.ndarray) -> dict[str, np.ndarray]:
            return {**task.inputs(Cutouts.from_store(reader, rows)), **task.targets(reader, rows)}

        resident, streamed = Resident(prepare(indices), CPU), Streamed(prepare, indices, CPU)
        order = loop.order_of_epoch(len(resident), 0, 0, CPU)
        with torch.autocast("cpu", torch.bfloat16):
            for first, second in zip(resident.batches(order.split(16)), streamed.batches(order.split(16)), strict=True):
                assert same(first, second)


def trained(name: str, store: Path, folder: Path, **training: Any) -> tuple[dict[str, torch.Tensor], Any]:
    path = astrodl.train(name, store, folder, settings=small(name, **training), progress=False, threads=1)
    with safe_open(path, "pt") as file:
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        return weights, json.loads(file.metadata()["context"])


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_streamed_training_ends_in_bitwise_the_same_model(
    name: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = trained(name, store, tmp_path / "resident")
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0.0)
    streamed = trained(name, store, tmp_path / "streamed")
    assert same(resident[0], streamed[0])
    assert resident[1] == streamed[1]


def test_a_streamed_training_that_is_killed_and_resumed_ends_in_bitwise_the_same_model(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = trained("photoz", store, tmp_path / "resident")
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0.0)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "update", interrupted(loop.update, 5))
    with pytest.raises(KeyboardInterrupt):
        trained("photoz", store, tmp_path / "broken")
    assert (tmp_path / "broken" / "last.pt").exists()
    assert same(resident[0], trained("photoz", store, tmp_path / "broken")[0])


def interrupted(update: Callable[..., None], at: int) -> Callable[..., None]:
    calls: list[int] = []

    def interrupt(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        update(*arguments, **options)

    return interrupt


def test_a_prediction_never_prepares_more_than_a_batch(store: Path, tmp_path: Path) -> None:
    trained("photoz", store, tmp_path)
    model = load_model(tmp_path / "model.safetensors", device="cpu")
    seen: list[int] = []
    inputs = model.task.inputs

    def count(cutouts: Cutouts) -> Any:
        seen.append(len(cutouts))
        return inputs(cutouts)

    model.task.inputs = count  # type: ignore[method-assign]
    with Reader(store) as reader:
        cutouts = Cutouts.from_store(reader, np.arange(N_OBJECTS))
    assert len(model.raw(cutouts, batch_size=40)["log_pdf"]) == N_OBJECTS
    assert seen == [40, 40, 10]
