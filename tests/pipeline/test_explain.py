from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from astropy.table import Table

pytest.importorskip("captum", reason="captum is not installed")

import astrodl
from astrodl import tasks
from astrodl.cli import main
from astrodl.errors import ConfigError, DataError
from astrodl.explanation import features
from astrodl.explanation.algorithms import Call
from astrodl.explanation.methods import Options, allowed, attribute
from astrodl.pipeline import units
from astrodl.pipeline.shares import Shares
from astrodl.products import read_catalog
from astrodl.tasks.explained import find_quantity, n_orientations, prepare_inputs
from astrodl.tasks.model import load_model
from astrodl.tasks.segmentation.quantities import list_quantities
from astrodl.tasks.segmentation.ratio import bin_centres


@pytest.mark.parametrize("task", tasks.NAMES)
def test_every_number_of_a_task_can_be_explained(task: str, store: Path, trained_model: Callable[[str], Path]) -> None:
    model = load_model(trained_model(task) / "model.safetensors", device="cpu")
    with astrodl.open_store(store) as reader:
        inputs = prepare_inputs(model, model.task.read(reader, np.arange(3)))
        names = [quantity.name for quantity in model.task.quantities()]
    assert len(set(names)) == len(names) > 0
    for name in names:
        found = attribute(find_quantity(model, name), inputs, "gradient", options=Options(draws=1))
        assert found.maps.shape == inputs.image.shape
        assert np.isfinite(found.maps).all()
        assert np.isfinite(found.value).all()
        assert found.maps.any(), name
    explained = find_quantity(model)
    assert set(model.task.explained_by) & set(allowed(explained))
    by_rules = {"deeplift", "lrp", "guided_backpropagation", "deconvolution", "grad_cam"}  # which depend on the layers
    for method in by_rules & set(allowed(explained)):
        attribute(explained, inputs.rows(slice(0, 1)), method, options=Options(draws=1))


@pytest.mark.parametrize(("task", "name"), [("photoz", "z_mean"), ("segmentation", "bt")])
def test_the_mean_over_the_orientations_is_the_prediction(
    task: str, name: str, store: Path, trained_model: Callable[[str], Path]
) -> None:
    model = load_model(trained_model(task) / "model.safetensors", device="cpu")
    model.task.context.constants.pop("pit_beta", None)  # without it the mean of p(z) is linear in the views
    with astrodl.open_store(store) as reader:
        cutouts = model.task.read(reader, np.arange(4))
    explained, inputs = find_quantity(model, name), prepare_inputs(model, cutouts)
    orientations = n_orientations(model.task)
    found = attribute(explained, inputs, "gradient", options=Options(draws=8), orientations=orientations)
    raw = model.raw(cutouts)
    if task == "photoz":
        edges = np.asarray(model.task.context.constants["edges"])
        raw[name] = np.exp(raw["log_pdf"]) @ ((edges[1:] + edges[:-1]) / 2)
    if task == "segmentation":
        raw[name] = raw["bt_bins"] @ np.array(bin_centres(model.task.settings.n_bins))
    np.testing.assert_allclose(found.value, raw[name], rtol=1e-2)  # predictions may be made in bfloat16


def test_parts_of_the_outlier_score_are_those_of_the_prediction(
    store: Path, trained_model: Callable[[str], Path]
) -> None:
    model = load_model(trained_model("outliers") / "model.safetensors", device="cpu")
    with astrodl.open_store(store) as reader:
        cutouts = model.task.read(reader, np.arange(4))
    raw, inputs = model.raw(cutouts), prepare_inputs(model, cutouts)
    predicted = {"score": raw["score"], **model.task.finish(raw)}
    for name in ("score", "residual", "critic", "structure", "code_density"):
        explained, values = find_quantity(model, name), predicted[name]
        np.testing.assert_allclose(explained.evaluate(inputs, explained.fix(inputs)), values, rtol=1e-3, atol=1e-3)
    assert inputs.expected is not None
    np.testing.assert_allclose(inputs.expected, torch.rot90(inputs.expected, 1, (-2, -1)), atol=1e-5)
    middle = torch.stack([torch.rot90(inputs.image, k, (-2, -1)) for k in range(4)]).sort(0).values[1:3].mean(0)
    np.testing.assert_allclose(inputs.expected, middle, atol=1e-5)


@pytest.mark.parametrize("task", ["latent", "votes"])
def test_a_sheet_of_each_kind_of_image_is_drawn(
    task: str, store: Path, trained_model: Callable[[str], Path], tmp_path: Path
) -> None:
    made = astrodl.explain(trained_model(task) / "model.safetensors", store, tmp_path, method="gradient", draws=1)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert made.target == {"latent": "hubble", "votes": "answer"}[task]
    if task == "votes":  # the fraction of the likeliest answer is the largest of all
        model = load_model(trained_model(task) / "model.safetensors", device="cpu")
        each = [
            astrodl.explain(model, store, method="gradient", target=name, draws=1) for name in model.task.tree.columns
        ]
        best = np.stack([one.value for one in each]).argmax(0)
        assert list(made.chosen) == [model.task.tree.questions[0].answers[i] for i in best]


def test_numbers_of_clumps_are_those_of_their_pixels_and_peaks() -> None:
    quantities = {quantity.name: quantity for quantity in list_quantities([0.25, 0.75], {"clump_logit": [2.0, -1.0]})}
    centre = torch.zeros(2, 8, 8)
    centre[0, 2, 2], centre[0, 2, 3], centre[0, 6, 6] = 0.8, 0.5, 0.3
    found = quantities["clump_count"].of({"centre": centre}, torch.zeros(2, 1))
    expected = sum(1 / (1 + np.exp(1 - 2 * np.log(p / (1 - p)))) for p in (0.8, 0.3))
    np.testing.assert_allclose(found, [expected, 0], rtol=1e-5)
    logit = torch.zeros(1, 8, 8)
    logit[0, 1, 1] = 40.0  # its probability is one
    logit.requires_grad_()
    predicted = {"clump_logit": logit}
    number = quantities["clump"].of(predicted, quantities["clump"].fix(predicted))
    assert number.item() == 40
    number.sum().backward()
    assert logit.grad.sum() == logit.grad[0, 1, 1] == 1
    ratio = quantities["bt"].of({"bt_bins": torch.tensor([[1.0, 0.0], [0.5, 0.5]])}, torch.zeros(2, 1))
    np.testing.assert_allclose(ratio, [0.25, 0.5])


def test_shares_of_all_objects_are_columns_of_the_catalogue(
    store: Path, trained_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = trained_model("photoz")
    model, table = folder / "model.safetensors", tmp_path / "shares.fits"
    assert main(["explain", str(model), str(store), "--shares", str(table)]) == 0
    words = ["catalog", str(store), str(folder / "predictions.h5"), "--out", str(tmp_path / "catalog.fits")]
    assert main([*words, "--shares", str(table)]) == 0
    catalog = read_catalog(tmp_path / "catalog.fits")
    ids = [str(name) for name in catalog["object_id"][:3]]
    made = astrodl.explain(model, store, ids=ids, method="input_x_gradient", draws=1)
    np.testing.assert_allclose(catalog["photoz_band_share"][:3], made.band_share, rtol=1e-3)
    np.testing.assert_allclose(catalog["photoz_radius_share"][:3], made.radius_share, rtol=1e-3)
    assert "of z_mean by input x gradient" in catalog["photoz_band_share"].description
    assert main([*words, "--shares", str(table), str(table)]) == 2
    assert "give one file per task" in capsys.readouterr().err
    predictions, other = str(folder / "predictions.h5"), str(tmp_path / "other.fits")
    words = ["catalog", str(store), predictions, "--out", other, "--shares", str(tmp_path / "catalog.fits")]
    assert main(words) == 2
    assert "give a table of `astrodl explain --shares`" in capsys.readouterr().err
    assert main(["explain", str(model), str(store), "--shares", str(table), "--ids", ids[0]]) == 2
    assert "leave out --ids" in capsys.readouterr().err


def test_shares_of_some_objects_leave_the_others_without(
    store: Path, trained_model: Callable[[str], Path], tmp_path: Path
) -> None:
    with astrodl.open_store(store) as reader:
        ids = [str(name) for name in reader.object_id[:2]]
    astrodl.explain(trained_model("photoz") / "model.safetensors", store, tmp_path, ids=ids, method="gradient", draws=1)
    shares = Shares(tmp_path / "shares.fits")
    band, radius = shares.columns(np.array([ids[1], "nobody"]))
    assert (band.name, radius.name) == ("photoz_band_share", "photoz_radius_share")
    assert band.values[0].sum() == pytest.approx(1)
    assert np.isnan(band.values[1]).all()


def test_what_units_look_for_is_drawn(
    store: Path, trained_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = partial(features.maximize, options=features.Maximization(steps=2))
    monkeypatch.setattr(units, "maximize", short)
    drawn = units.draw_units(trained_model("morphology") / "model.safetensors", store, tmp_path)
    names = ["filters", "feature_maps", "exemplars", "neighbours", "maximised", "mean_maps"]
    assert [path.stem for path in drawn] == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_explain_writes_maps_shares_and_a_sheet(
    store: Path, trained_model: Callable[[str], Path], tmp_path: Path
) -> None:
    model = trained_model("photoz") / "model.safetensors"
    with astrodl.open_store(store) as reader:
        ids = [str(name) for name in reader.object_id[:3]]
    made = astrodl.explain(model, store, tmp_path, ids=ids, steps=16, draws=2)
    assert made.object_id.tolist() == ids
    assert made.target == "z_mean"
    np.testing.assert_allclose(made.band_share.sum(1), 1, rtol=1e-5)
    with h5py.File(tmp_path / "attributions.h5") as file:
        np.testing.assert_array_equal(file["maps"], made.maps)
        assert file.attrs["method"] == made.method
        assert file.attrs["unit"] == "redshift per sky sigma"  # SmoothGrad is a slope
    table = Table.read(tmp_path / "shares.fits")
    np.testing.assert_allclose(table["photoz_band_share"], made.band_share, rtol=1e-6)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    again = astrodl.explain(model, store, ids=ids, steps=16, draws=2)
    np.testing.assert_array_equal(again.maps, made.maps)


def test_images_in_memory_give_the_maps_of_the_store(store: Path, trained_model: Callable[[str], Path]) -> None:
    model = load_model(trained_model("photoz") / "model.safetensors", device="cpu")
    with astrodl.open_store(store) as reader:
        images, sky, ids = reader.images(np.arange(2)), reader.sky_sigma[:2], [str(n) for n in reader.object_id[:2]]
    made = astrodl.explain(model, images, method="gradient", sky_sigma=sky, draws=1)
    expected = astrodl.explain(model, store, method="gradient", ids=ids, draws=1)
    np.testing.assert_allclose(made.maps, expected.maps, atol=1e-5 * np.abs(expected.maps).max())


def test_images_without_data_have_no_attributions(
    store: Path, trained_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = load_model(trained_model("photoz") / "model.safetensors", device="cpu")
    with astrodl.open_store(store) as reader:
        images, sky = reader.images(np.arange(3)), reader.sky_sigma[:3]
    images[1] = np.nan
    made = astrodl.explain(model, images, tmp_path, method="gradient", sky_sigma=sky, draws=1)
    for values in (made.maps, made.value, made.change, made.residual, made.band_share, made.radius_share):
        assert np.isnan(values[1]).all()
    assert np.isfinite(made.maps[[0, 2]]).all()
    assert np.isfinite(made.value[[0, 2]]).all()
    assert "1 of 3 objects have no pixel with data, and get no attributions" in capsys.readouterr().err
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_not_known_is_refused(
    store: Path, trained_model: Callable[[str], Path], capsys: pytest.CaptureFixture
) -> None:
    model = trained_model("photoz") / "model.safetensors"
    with pytest.raises(ConfigError, match="target 'z' is not known; accepted by photoz: z_mean, z_median"):
        astrodl.explain(model, store, target="z")
    with pytest.raises(DataError, match="no object 'nobody'"):
        astrodl.explain(model, store, ids=["nobody"])
    with pytest.raises(ConfigError, match="method deeplift: has no rule for LearnedApertures"):
        astrodl.explain(model, store, method="deeplift")
    assert main(["explain", str(model), str(store), "--method", "lime", "--out", "nowhere"]) == 2
    assert "method 'lime' is not known; accepted: gradient" in capsys.readouterr().err


def test_a_warning_says_that_a_method_shows_the_image_and_not_the_network(
    store: Path, trained_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from astrodl.explanation import methods

    def image(call: Call):
        return call.images.abs()

    monkeypatch.setitem(methods.METHODS, "image", methods.Method("image", "network", image, ""))
    made = astrodl.explain(trained_model("photoz") / "model.safetensors", store, method="image", draws=1)
    assert made.similarity == pytest.approx(1, abs=1e-4)
    assert "fails weight randomisation" in made.warning
    assert "fails weight randomisation" in capsys.readouterr().err
