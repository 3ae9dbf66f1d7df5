"""Resident and streamed datasets, and the direct reader: all of them give the same numbers."""

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
from astrodl.data.batches import Cutouts, DirectReader, ResidentDataset, StreamedDataset, load_splits
from astrodl.errors import StoreError
from astrodl.pipeline import objects
from astrodl.store import Reader
from astrodl.tasks.model import load_model
from astrodl.training import loop
from tests.small_store import N_OBJECTS, write_store
from tests.small_task import small_settings

CPU = torch.device("cpu")
ROWS = np.array([7, 3, 3, 88, 0])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.h5")


def make_arrays(indices: np.ndarray) -> dict[str, np.ndarray]:
    """Make arrays that differ for all objects."""
    image = np.sin(np.arange(12.0) * indices[:, None]).reshape(-1, 3, 2, 2)
    return {"image": image.astype(np.float32), "z": indices}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return set(first) == set(second) and all(
        torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first
    )


# -- direct reader ----------------------------------------------------------------------------------------------------


def test_the_direct_reader_returns_the_arrays_of_the_plain_reader(store: Path) -> None:
    with DirectReader(store) as direct, Reader(store) as plain:
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


def test_a_row_beyond_the_store_is_an_error(store: Path) -> None:
    with DirectReader(store) as direct, pytest.raises(IndexError, match="the store has 90 objects"):
        direct.images([90])


def test_a_file_that_is_truncated_while_in_use_is_an_error(store: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.h5"
    truncated.write_bytes(store.read_bytes())
    with DirectReader(truncated) as direct:
        os.truncate(truncated, 100_000)
        with pytest.raises(StoreError, match="damaged while in use"):
            direct.images([0, N_OBJECTS - 1])


def test_columns_are_copies(store: Path) -> None:
    with DirectReader(store) as direct:
        direct.column("z")[:] = -1
        assert (direct.column("z") > 0).all()


def test_chunked_datasets_are_read_as_well(store: Path, tmp_path: Path) -> None:
    chunked = tmp_path / "chunked.h5"
    chunked.write_bytes(store.read_bytes())
    with h5py.File(chunked, "r+") as file:
        images = file["image"][:]
        attributes = dict(file["image"].attrs)
        del file["image"]
        file.create_dataset("image", data=images, chunks=(8, *images.shape[1:])).attrs.update(attributes)
    with DirectReader(chunked) as direct:
        np.testing.assert_array_equal(direct.images(ROWS), images[ROWS])


# -- batches ----------------------------------------------------------------------------------------------------------


def test_resident_tensors_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    indices = np.arange(100)[::-1].copy()
    whole = ResidentDataset.load(make_arrays, indices, CPU)
    monkeypatch.setattr(batches, "BLOCK_SIZE", 7)
    assert same(dict(whole.tensors), dict(ResidentDataset.load(make_arrays, indices, CPU).tensors))
    assert len(whole) == 100


@pytest.mark.parametrize("size", [1, 8, 50, 1000])
def test_streamed_batches_are_the_resident_ones(size: int) -> None:
    indices = np.arange(10, 60)
    resident, streamed = ResidentDataset.load(make_arrays, indices, CPU), StreamedDataset(make_arrays, indices, CPU)
    assert len(resident) == len(streamed) == 50
    order = batches.epoch_order(50, 3, 1, CPU)
    for iterate in (lambda data: data.batches(order.split(size)), lambda data: data.in_order(size)):
        pairs = list(zip(iterate(resident), iterate(streamed), strict=True))
        assert len(pairs) == -(-50 // size)
        assert all(same(first, second) for first, second in pairs)
    assert same(resident.batch(order[:5]), streamed.batch(order[:5]))
    assert same(dict(resident.tensors), dict(streamed.tensors))


def test_a_few_batches_are_prefetched_and_closing_ends_the_thread() -> None:
    calls: list[int] = []

    def prepare(indices: np.ndarray) -> dict[str, np.ndarray]:
        calls.append(len(indices))
        return make_arrays(indices)

    before = threading.active_count()
    stream = StreamedDataset(prepare, np.arange(1000), CPU).batches(torch.arange(1000).split(10))
    next(stream)
    time.sleep(0.05)
    assert 1 < len(calls) <= batches.PREFETCH + 2
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_while_preparing_reaches_the_caller() -> None:
    def prepare(indices: np.ndarray) -> dict[str, np.ndarray]:
        if 25 in indices:
            raise OSError("the disk is gone")
        return make_arrays(indices)

    with pytest.raises(OSError, match="the disk is gone"):
        list(StreamedDataset(prepare, np.arange(100), CPU).in_order(10))


def test_data_that_do_not_fit_are_streamed_with_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = {"train": np.arange(60), "validation": np.arange(0)}
    needed = 60 * (48 + 8)
    for memory, dataset_type in ((2 * needed, ResidentDataset), (2 * needed - 1, StreamedDataset)):
        monkeypatch.setattr(batches, "memory_bytes", lambda device, memory=memory: memory)
        loaded = load_splits(make_arrays, splits, CPU)
        assert {type(data) for data in loaded.values()} == {dataset_type}
        assert [len(data) for data in loaded.values()] == [60, 0]
        assert ("60 objects need" in capsys.readouterr().err) == (dataset_type is StreamedDataset)


@pytest.mark.parametrize(
    ("line", "folder", "name"),
    [
        ("0::/slurm/job_1/step_0", "slurm/job_1", "memory.max"),
        ("4:memory:/slurm/job_1", "memory/slurm/job_1", "memory.limit_in_bytes"),
        ("4:memory:/elsewhere", "memory", "memory.limit_in_bytes"),
    ],
)
def test_the_memory_limit_of_a_control_group_is_found(tmp_path: Path, line: str, folder: str, name: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"9:cpu:/x\n{line}\n")
    assert list(device._control_group_limits(tmp_path)) == []
    (tmp_path / "sys/fs/cgroup" / folder).mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup" / folder / name).write_text("123456\n")
    assert list(device._control_group_limits(tmp_path)) == [123456]


@pytest.mark.parametrize(
    ("line", "folder", "limit", "usage", "cached"),
    [
        ("0::/job", "job", "memory.max", "memory.current", "inactive_file"),
        ("4:memory:/job", "memory/job", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_memory_that_other_processes_use_is_not_free(
    tmp_path: Path, line: str, folder: str, limit: str, usage: str, cached: str
) -> None:
    group = tmp_path / "sys/fs/cgroup" / folder
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"{line}\n")
    (group / limit).write_text("1000\n")
    (group / usage).write_text("700\n")
    (group / "memory.stat").write_text(f"anon 600\n{cached} 100\nactive_file 5\n")
    assert list(device._control_group_limits(tmp_path)) == [400]
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 250 kB\n")
    assert device._free_memory(tmp_path) == 250 * 1024
    (tmp_path / "proc/meminfo").unlink()
    assert device._free_memory(tmp_path) > 1e8


def test_the_memory_of_this_machine_is_plausible() -> None:
    assert 1e8 < device.memory_bytes(CPU) < 1e14


# -- the tasks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tasks.NAMES)
def test_inputs_of_an_object_depend_neither_on_other_objects_nor_on_autocast(name: str, store: Path) -> None:
    task_class = tasks.get(name)
    settings = task_class.Settings.model_validate(small_settings(name))
    with DirectReader(store) as reader:
        task = task_class(settings, objects.fit_context(task_class, settings, reader))
        indices = objects.labelled(task_class, settings, reader, "train")

        def prepare(rows: np.ndarray) -> dict[str, np.ndarray]:
            return {**task.inputs(Cutouts.from_store(reader, rows)), **task.targets(reader, rows)}

        resident, streamed = ResidentDataset(prepare(indices), CPU), StreamedDataset(prepare, indices, CPU)
        order = batches.epoch_order(len(resident), 0, 0, CPU)
        with torch.autocast("cpu", torch.bfloat16):
            for first, second in zip(resident.batches(order.split(16)), streamed.batches(order.split(16)), strict=True):
                assert same(first, second)


def train(name: str, store: Path, folder: Path, **training: Any) -> tuple[dict[str, torch.Tensor], Any]:
    path = astrodl.train(name, store, folder, settings=small_settings(name, **training), progress=False, threads=1)
    with safe_open(path, "pt") as file:
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        return weights, json.loads(file.metadata()["context"])


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_streamed_training_ends_in_bitwise_the_same_model(
    name: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = train(name, store, tmp_path / "resident")
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0.0)
    streamed = train(name, store, tmp_path / "streamed")
    assert same(resident[0], streamed[0])
    assert resident[1] == streamed[1]


def test_a_killed_and_resumed_streamed_training_ends_in_bitwise_the_same_model(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = train("photoz", store, tmp_path / "resident")
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0.0)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "update", interrupt_at(loop.update, 5))
    with pytest.raises(KeyboardInterrupt):
        train("photoz", store, tmp_path / "broken")
    assert (tmp_path / "broken" / "last.pt").exists()
    assert same(resident[0], train("photoz", store, tmp_path / "broken")[0])


def interrupt_at(update: Callable[..., None], at: int) -> Callable[..., None]:
    calls: list[int] = []

    def interrupted(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        update(*arguments, **options)

    return interrupted


def test_a_prediction_prepares_one_batch_at_a_time(store: Path, tmp_path: Path) -> None:
    train("photoz", store, tmp_path)
    model = load_model(tmp_path / "model.safetensors", device="cpu")
    sizes: list[int] = []
    inputs = model.task.inputs

    def count(cutouts: Cutouts) -> Any:
        sizes.append(len(cutouts))
        return inputs(cutouts)

    model.task.inputs = count  # type: ignore[method-assign]
    with Reader(store) as reader:
        cutouts = Cutouts.from_store(reader, np.arange(N_OBJECTS))
    assert len(model.raw(cutouts, batch_size=40)["log_pdf"]) == N_OBJECTS
    assert sizes == [40, 40, 10]
