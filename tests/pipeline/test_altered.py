"""Altered models, predictions and reports end in one line; intact files of older versions open."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import astrodl
from astrodl import cli, tasks
from astrodl.errors import AstrodlError, StoreError
from astrodl.pipeline.predictions import Predictions
from astrodl.pipeline.reports import read_baseline, read_history
from astrodl.pipeline.summary import read_metrics
from astrodl.tasks.model import load_model
from tests.damage import damage

Metadata = dict[str, str]
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def folder(trained_model: Callable[[str], Path]) -> Path:
    return trained_model("morphology")


def read(path: Path) -> tuple[Metadata, Weights]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def write(out: Path, metadata: Metadata, weights: Weights, *, old: bool) -> Path:
    """Write a model; `old`: without checksum, as older versions did."""
    if old:
        metadata = {name: text for name, text in metadata.items() if name != "checksum"}
    save_file(weights, out, metadata)
    return out


def first_float(weights: Weights) -> str:
    return next(name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.dim() > 1)


def in_json(part: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Metadata, Weights], None]:
    def alter(metadata: Metadata, weights: Weights) -> None:
        values = json.loads(metadata[part])
        change(values)
        metadata[part] = json.dumps(values)

    return alter


def to_nan(metadata: Metadata, weights: Weights) -> None:
    weights[first_float(weights)].view(-1)[3] = np.nan


def to_half(metadata: Metadata, weights: Weights) -> None:
    weights[first_float(weights)] = weights[first_float(weights)].half()


def to_shape(metadata: Metadata, weights: Weights) -> None:
    weights[first_float(weights)] = torch.zeros(3, 3)


ALTERATIONS: dict[str, Callable[[Metadata, Weights], Any]] = {
    **{f"no {key}": lambda m, w, key=key: m.pop(key) for key in ("format", "task", "settings", "context")},
    **{f"text in {key}": lambda m, w, key=key: m.update({key: "{"}) for key in ("settings", "context", "task")},
    "list": lambda m, w: m.update(context="[]"),
    "deep": lambda m, w: m.update(context="[" * 100_000),
    "version": lambda m, w: m.update(format_version="9"),
    "fold": lambda m, w: m.update(fold="one"),
    "NaN": to_nan,
    "half precision": to_half,
    "shape": to_shape,
    "no tensor": lambda m, w: w.pop(first_float(w)),
    "further tensor": lambda m, w: w.update(extra=torch.zeros(2)),
    "unknown setting": in_json("settings", lambda s: s.update(colour="red")),
    "wide": in_json("settings", lambda s: s.update(widths=[8, 17])),
    "no bands": in_json("context", lambda c: c.update(bands=[])),
    "more bands": in_json("context", lambda c: c.update(bands=["g", "r", "i", "z"])),
    "equal bands": in_json("context", lambda c: c.update(bands=["g", "r", "g"])),
    "numbers as bands": in_json("context", lambda c: c.update(bands=[1, 2, 3])),
    "size as text": in_json("context", lambda c: c.update(size="32")),
    "no size": in_json("context", lambda c: c.pop("size")),
    "size 0": in_json("context", lambda c: c.update(size=0)),
    "further key": in_json("context", lambda c: c.update(colour=1)),
    "softening NaN": in_json("context", lambda c: c["normalization"].update(softening=[1.0, float("nan"), 1.0])),
    "softening 0": in_json("context", lambda c: c["normalization"].update(softening=[1.0, 0.0, 1.0])),
    "softening of two": in_json("context", lambda c: c["normalization"].update(softening=[1.0, 1.0])),
    "stretch": in_json("context", lambda c: c["normalization"].update(stretch=-1)),
    "no constants": in_json("context", lambda c: c.update(constants={})),
    "constants": in_json("context", lambda c: c.update(constants=[1])),
    "classes": in_json("context", lambda c: c["constants"].update(classes="S0")),
    "temperature": in_json("context", lambda c: c["constants"].update(temperature="warm")),
    "infinite temperature": in_json("context", lambda c: c["constants"].update(temperature=float("inf"))),
    "least": in_json("context", lambda c: c["constants"].update(least=[])),
}


@pytest.mark.parametrize("old", [False, True], ids=["checksum", "old"])
@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_model_is_refused_in_one_line(alteration: str, old: bool, folder: Path, tmp_path: Path) -> None:
    metadata, weights = read(folder / "model.safetensors")
    ALTERATIONS[alteration](metadata, weights)
    path = write(tmp_path / "m.safetensors", metadata, weights, old=old)
    with pytest.raises(AstrodlError, match=r"m.safetensors") as caught:
        load_model(path, device="cpu")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_any_other_value_in_a_model_differs_from_its_checksum(folder: Path, tmp_path: Path) -> None:
    metadata, weights = read(folder / "model.safetensors")
    weights[first_float(weights)].view(-1)[0] += 1e-3
    with pytest.raises(StoreError, match="its content differs from its checksum"):
        load_model(write(tmp_path / "m.safetensors", metadata, weights, old=False))


@pytest.mark.parametrize("name", tasks.NAMES)
def test_models_of_older_versions_open_and_predict_the_same(
    name: str, trained_model: Callable[[str], Path], tmp_path: Path
) -> None:
    path = trained_model(name) / "model.safetensors"
    metadata, weights = read(path)
    context = json.loads(metadata["context"])
    del context["training_range"], context["split"]
    old = write(tmp_path / "old.safetensors", {**metadata, "context": json.dumps(context)}, weights, old=True)
    images = np.random.default_rng(0).normal(0, 0.2, (3, 3, 32, 32))
    first = load_model(old, device="cpu").predict(images)
    with pytest.warns(UserWarning, match="unlike those of the training objects"):
        second = load_model(path, device="cpu").predict(images)
    for key in first.keys() - {"input_flags", "flags"}:
        assert np.array_equal(first[key], second[key]), key


@pytest.mark.parametrize("name", ["model.safetensors", "predictions.h5"])
def test_damaged_bytes_never_end_in_a_traceback(name: str, folder: Path, tmp_path: Path) -> None:
    n_refused = 0
    for number, damaged in enumerate(damage((folder / name).read_bytes(), 60)):
        path = tmp_path / f"{number}{Path(name).suffix}"
        path.write_bytes(damaged)
        lines = astrodl.check(path)
        assert len(lines) < 2
        assert all("\n" not in line and str(path) in line for line in lines)
        n_refused += bool(lines)
    assert n_refused > 30  # the others hit bytes that hold nothing


def replace(file: h5py.File, name: str, values: Any) -> None:
    del file[name]
    file[name] = values


PREDICTIONS: dict[str, Callable[[h5py.File], Any]] = {
    **{f"no {key}": lambda f, key=key: f.attrs.__delitem__(key) for key in ("format", "task", "settings", "context")},
    **{f"no {key}": lambda f, key=key: f.attrs.__delitem__(key) for key in ("models", "store", "astrodl_version")},
    "number as task": lambda f: f.attrs.__setitem__("task", 3),
    "unknown task": lambda f: f.attrs.__setitem__("task", "astrology"),
    "settings": lambda f: f.attrs.__setitem__("settings", "[]"),
    "context": lambda f: f.attrs.__setitem__("context", '{"survey": 1}'),
    "models": lambda f: f.attrs.__setitem__("models", [1, 2]),
    "no names": lambda f: f.__delitem__("object_id"),
    "no array": lambda f: f.__delitem__("probability"),
    "further array": lambda f: f.__setitem__("further", np.zeros(90)),
    "group": lambda f: f.create_group("group"),
    "short": lambda f: replace(f, "probability", f["probability"][:50]),
    "wide": lambda f: replace(f, "probability", np.zeros((90, 5), np.float32)),
    "text": lambda f: replace(f, "probability", ["high"] * 90),
    "scalar": lambda f: replace(f, "probability", 0.5),
    "integers": lambda f: replace(f, "probability", np.zeros((90, 2), int)),
    "numbers as names": lambda f: replace(f, "object_id", np.arange(90)),
    "unseen": lambda f: replace(f, "unseen", np.zeros(90)),
    "NaN": lambda f: f["probability"].__setitem__(3, np.nan),
    "value": lambda f: f["probability"].__setitem__(3, 0.25),
    "name": lambda f: f["object_id"].__setitem__(3, "T999"),
    "link": lambda f: (f.__delitem__("probability"), f.__setitem__("probability", h5py.ExternalLink("x.h5", "/y"))),
    "soft link": lambda f: (f.__delitem__("probability"), f.__setitem__("probability", h5py.SoftLink("/nothing"))),
    "external": lambda f: (
        f.__delitem__("probability"),
        f.create_dataset("probability", (90, 2), "f4", external=[("/etc/hostname", 0, 720)]),
    ),
}


@pytest.mark.parametrize("alteration", PREDICTIONS)
def test_altered_predictions_are_refused_in_one_line_on_opening(alteration: str, folder: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(folder / "predictions.h5", tmp_path))
    with h5py.File(path, "r+") as file:
        PREDICTIONS[alteration](file)
    with pytest.raises(AstrodlError, match=r"predictions.h5") as caught:
        Predictions(path)
    assert "\n" not in str(caught.value)


def test_altered_maps_are_found_by_check(
    trained_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copy(trained_model("segmentation") / "predictions.h5", tmp_path))
    assert cli.main(["check", str(path)]) == 0
    with h5py.File(path, "r+") as file:
        file["clump"][3, 4, 5] = 0.3
    assert cli.main(["check", str(path)]) == 1
    assert "the content of 'clump' differs from its checksum" in capsys.readouterr().out


def test_predictions_of_older_versions_open_and_are_checked_for_nan(folder: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(folder / "predictions.h5", tmp_path))
    with h5py.File(path, "r+") as file:
        del file.attrs["arrays"], file["input_flags"]
        for dataset in file.values():
            del dataset.attrs["sha256"]
    assert len(Predictions(path)) == 90
    assert astrodl.check(path) == []
    with h5py.File(path, "r+") as file:
        file["probability"][4, 1] = np.nan
    assert astrodl.check(path) == [
        f"{path}: damaged or altered ('probability' has values that are not finite); predict again"
    ]


def test_predictions_of_another_version_without_an_array_are_refused(
    trained_model: Callable[[str], Path], tmp_path: Path
) -> None:
    path = Path(shutil.copy(trained_model("outliers") / "predictions.h5", tmp_path))
    with h5py.File(path, "r+") as file:
        del file["critic"]
        arrays = json.loads(file.attrs["arrays"])
        del arrays["critic"]
        file.attrs["arrays"] = json.dumps(arrays)
    with pytest.raises(StoreError, match=r"predictions.h5: has no array 'critic', which this astrodl needs; predict"):
        Predictions(path)


REPORTS = {
    "metrics.json": '{"task": "t", "n_objects": 3, "headline": [], "metrics": {}, "network": 3, "baselines": {}}',
    "baseline.json": '{"task": "photoz", "n_objects": -1}',
    "history.jsonl": '{"epoch": 0}\n{"epoch": ',
}


@pytest.mark.parametrize(("name", "text"), REPORTS.items())
def test_damaged_reports_are_one_line(name: str, text: str, tmp_path: Path) -> None:
    reader = {"metrics.json": read_metrics, "baseline.json": read_baseline, "history.jsonl": read_history}[name]
    for content in (text.encode(), b"", b"[]", b"\xff\xfe\x00", b"null"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AstrodlError, match=name) as caught:
            reader(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert astrodl.check(tmp_path / name) == [str(caught.value)]
