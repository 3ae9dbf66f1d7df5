"""Segmentation: clumps as objects, the distribution of the ratio, fractions per band, the point-spread function."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from astropy.table import Table

import astrodl
from astrodl.data.batches import Cutouts
from astrodl.errors import DataError
from astrodl.pipeline import objects
from astrodl.pipeline.predictions import Predictions
from astrodl.store import open_store
from astrodl.store.layout import dataset_digest
from astrodl.tasks.segmentation import Segmentation, SegmentationSettings, clumps, ratio, shape
from astrodl.tasks.segmentation.labels import Labels, draw_centres, read_segment
from astrodl.tasks.segmentation.point_spread import encircled_energy
from tests.small_store import BANDS, N_OBJECTS, SIZE, write_store
from tests.small_task import make_task, read_batch, small_settings

SETTINGS = SegmentationSettings()


def copy_store(store: Path, folder: Path, datasets: dict[str, np.ndarray]) -> Path:
    """Copy a store and add datasets."""
    path = Path(shutil.copy(store, folder / "copy.h5"))
    with h5py.File(path, "r+") as file:
        for name, values in datasets.items():
            file[name] = values
            file[name].attrs["sha256"] = dataset_digest(file[name])
    return path


# -- the ratio --------------------------------------------------------------------------------------------------------


def bins(*entries: tuple[int, float], n_bins: int = 10) -> np.ndarray:
    probability = np.zeros((1, n_bins + 2))
    for number, value in entries:
        probability[0, number] = value
    return probability


def test_spikes_stand_for_exactly_zero_and_one() -> None:
    none, pure = (ratio.summarize(bins((number, 1.0)), 10, {}) for number in (0, 11))
    assert none["bt"] == none["bt_low68"] == none["bt_high68"] == 0
    assert none["bt_zero"] == pure["bt_one"] == 1
    assert pure["bt"] == pure["bt_low68"] == pure["bt_high68"] == 1


def test_mean_error_and_interval_of_a_flat_distribution() -> None:
    summary = ratio.summarize(bins(*((number, 0.1) for number in range(1, 11))), 10, {})
    assert summary["bt"] == pytest.approx(0.5)
    assert summary["bt_error"] == pytest.approx(1 / np.sqrt(12), rel=1e-3)
    assert summary["bt_low68"] == pytest.approx(0.5 - 0.6827 / 2, abs=1e-3)
    assert summary["bt_high68"] == pytest.approx(0.5 + 0.6827 / 2, abs=1e-3)


def test_truth_is_placed_in_its_bin() -> None:
    edges = torch.tensor(ratio.bin_edges(10))
    placed = ratio.place(torch.tensor([0.0, 0.32, 1.0, 0.999]), edges)
    assert torch.searchsorted(edges, placed).tolist() == [1, 5, 12, 12]


def test_the_calibrated_interval_covers_68_percent_of_new_objects() -> None:
    random = np.random.default_rng(0)
    centres = np.array(ratio.bin_centres(20))

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        mean = random.uniform(0.2, 0.8, n)
        truth = np.clip(mean + 0.12 * random.standard_normal(n), 0.01, 0.99)
        # twice too narrow
        density = np.exp(-0.5 * ((centres[1:-1] - mean[:, None]) / 0.06) ** 2)
        return np.pad(density / density.sum(1, keepdims=True), ((0, 0), (1, 1))), truth

    constants = ratio.calibrate(*draw(2000), 20)
    probability, truth = draw(2000)
    for fitted, expected in ((constants, 0.6827), ({}, 0.38)):
        summary = ratio.summarize(probability, 20, fitted)
        covered = np.mean((summary["bt_low68"] <= truth) & (truth <= summary["bt_high68"]))
        assert covered == pytest.approx(expected, abs=0.035)
    assert constants["bt_scale"] == pytest.approx(2, rel=0.1)


def test_maps_are_shifted_to_the_ratio_and_still_sum_to_one() -> None:
    random = torch.Generator().manual_seed(0)
    fraction = torch.rand((4, 2, 3, 16, 16), generator=random).mul(3).softmax(2)
    light = torch.rand((4, 2, 16, 16), generator=random) * 3
    wanted = torch.tensor([0.0, 0.2, 0.7, 1.0])
    shifted = ratio.match_ratio(fraction, light, wanted, 1)
    torch.testing.assert_close(shifted.sum(2), torch.ones(4, 2, 16, 16))
    weight = light[:, 1].sinh()
    found = (weight * shifted[:, 1, 0]).sum((1, 2)) / weight.sum((1, 2))
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=0)
    # disk and clumps share the rest as before
    torch.testing.assert_close(shifted[1, 1, 1] / shifted[1, 1, 2], fraction[1, 1, 1] / fraction[1, 1, 2])
    # a shift of the logit that is the same in all pixels and bands
    moved = (torch.logit(shifted[:, :, 0]) - torch.logit(fraction[:, :, 0]))[1]
    torch.testing.assert_close(moved, moved[0, 0, 0].expand_as(moved), atol=1e-3, rtol=0)


# -- shapes -----------------------------------------------------------------------------------------------------------


def test_shapes_are_predicted_where_the_store_has_them(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = np.arange(60)
    with open_store(store) as reader:
        fitted = shape.fit(SETTINGS, reader, train)
        assert list(fitted) == ["sersic_index"]
        truth = shape.read(fitted, reader, train)["sersic_index"]
        standard = shape.targets(fitted, reader, train)
        missing = SegmentationSettings(shape={"radius": "no_such_column"})
        with pytest.raises(DataError, match=r"shape\.radius: column 'no_such_column' is not in the store"):
            shape.fit(missing, reader, train)
        assert not shape.fit(SegmentationSettings(augment={"zoom": 0.2}), reader, train)
    assert "augment.zoom changes the size" in capsys.readouterr().err
    assert standard.mean() == pytest.approx(0, abs=1e-5)
    assert standard.std() == pytest.approx(1, abs=1e-5)
    sigma = np.full_like(standard, 0.1)
    constants = {"shape": fitted, "shape_factor": [2.0]}
    summary = shape.summarize({"shape": standard, "shape_sigma": sigma}, constants)
    np.testing.assert_allclose(summary["sersic_index"], truth, rtol=1e-5)
    scale = fitted["sersic_index"]["scale"]
    np.testing.assert_allclose(summary["sersic_index_error"], 0.2 * scale * truth, rtol=1e-5)
    metrics = shape.score({"sersic_index": 1.1 * truth}, {"true_sersic_index": truth})
    assert metrics["sersic_index_bias"]["value"] == pytest.approx(np.log(1.1))
    assert metrics["sersic_index_scatter"]["value"] == pytest.approx(0, abs=1e-9)


def test_errors_of_shapes_are_calibrated_and_unknown_ones_are_left_out() -> None:
    random = np.random.default_rng(0)
    target = random.standard_normal((2000, 2)).astype(np.float32)
    mean, sigma = np.zeros_like(target), np.full_like(target, 0.5)
    target[::2, 1] = np.nan
    assert shape.calibrate(mean, sigma, target) == pytest.approx([2, 2], rel=0.06)
    output = torch.zeros(2000, 2, 2)
    known = np.isfinite(target)
    expected = 0.5 * np.mean(target[known] ** 2)
    assert float(shape.likelihood(output, torch.tensor(target))) == pytest.approx(expected, rel=1e-4)


# -- clumps -----------------------------------------------------------------------------------------------------------


def peaks(positions: list[tuple[float, float]], heights: list[float], size: int = 32) -> np.ndarray:
    axis = np.arange(size)
    maps = np.zeros((size, size))
    for (y, x), height in zip(positions, heights, strict=True):
        maps = np.maximum(maps, height * np.exp(-0.5 * ((axis - y)[:, None] ** 2 + (axis - x) ** 2)))
    return maps


def test_touching_clumps_come_apart() -> None:
    centre = peaks([(10, 10), (10, 13)], [0.9, 0.7])
    found = clumps.detect(SETTINGS, {}, (centre > 0.1)[None].astype(float), centre[None])
    assert list(found["n_clumps"]) == [2]
    np.testing.assert_allclose(found["clump_x"][0, :2], [10, 13], atol=0.1)
    assert np.isnan(found["clump_x"][0, 2:]).all()
    np.testing.assert_allclose(found["clump_probability"][0, :2], [0.9, 0.7], atol=0.01)
    assert found["clump_area"][0, :2].sum() == (centre > 0.1).sum()


def test_the_most_probable_clumps_are_kept() -> None:
    centre = peaks([(5, 5), (15, 15), (25, 25)], [0.6, 0.9, 0.8])
    few = SegmentationSettings(max_clumps=2)
    found = clumps.detect(few, {}, centre[None], centre[None])
    assert list(found["n_clumps"]) == [3]
    np.testing.assert_allclose(found["clump_y"], [[15, 25]], atol=0.1)


def test_the_threshold_has_the_stated_purity_and_probabilities_are_calibrated() -> None:
    random = np.random.default_rng(0)
    centre, light = np.zeros((2, 400, 32, 32))
    for number in range(400):
        height = random.uniform(0.05, 0.95)
        position = tuple(random.uniform(6, 26, 2))
        centre[number] = peaks([position], [height])
        if random.random() < height:
            light[number] = 20 * peaks([position], [1.0])
    constants = clumps.fit_detection(SETTINGS, centre, light, light > 1)
    kept = centre.max((1, 2)) >= constants["centre_threshold"]
    assert np.mean(light.max((1, 2))[kept] > 0) == pytest.approx(0.85, abs=0.03)
    # the height is the probability already
    assert clumps.clump_probability(np.array([0.3, 0.7]), constants) == pytest.approx([0.3, 0.7], abs=0.1)


def test_an_unreached_purity_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    centre = np.stack([peaks([(10, 10)], [0.5])] * 100)
    light = np.stack([20 * peaks([(10, 10) if k % 2 else (25, 25)], [1.0]) for k in range(100)])
    clumps.fit_detection(SETTINGS, centre, light, light > 1)
    assert "purity = 0.85 is not reached" in capsys.readouterr().err
    fitted = clumps.fit_detection(SETTINGS, 0 * centre, light, light > 1)
    assert "all peaks are kept" in capsys.readouterr().err
    assert set(fitted) == {"centre_threshold"}


def test_centres_are_drawn_for_detectable_clumps(store: Path) -> None:
    with open_store(store) as reader:
        labels = Labels.read(reader, np.arange(10, 20), ["r"], 0)
    mask = labels.mask(SETTINGS)
    truth = labels.clumps(mask)
    maps = draw_centres(truth, 10, SIZE)
    assert maps.shape == mask.shape
    for image, y, x in zip(truth.clumps.image, truth.clumps.y, truth.clumps.x, strict=True):
        height = maps[image, round(y), round(x)]
        detectable = truth.is_detectable[(truth.clumps.image == image) & (truth.clumps.y == y)].any()
        assert (height > 0.75) == detectable
    assert truth.is_detectable.any()


@pytest.fixture
def planted(trained_model: Callable[[str], Path], store: Path, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Predictions in which the clumps are the true ones, and the true fluxes in the bands."""
    path = Path(shutil.copy(trained_model("segmentation") / "predictions.h5", tmp_path / "predictions.h5"))
    task = make_task("segmentation", store, small_settings("segmentation"))
    with open_store(store) as reader:
        labels = task.labels(reader, np.arange(N_OBJECTS))
        truth = labels.clumps(labels.mask(task.settings))
    bright = truth.is_detectable
    with h5py.File(path) as file:
        most = file["clump_y"].shape[1]
    y, x, *_ = clumps.pad(truth.clumps.select(bright), N_OBJECTS, most)
    flux = np.zeros(N_OBJECTS)
    flux[truth.clumps.image[bright]] = truth.flux[bright]
    with h5py.File(path, "r+") as file:
        file.attrs["arrays"] = "{}"
        del file.attrs["arrays"]
        for name, values in (
            ("clump_y", y),
            ("clump_x", x),
            ("clump_probability", np.where(np.isfinite(y), 0.9, np.nan)),
        ):
            file[name][...] = values
        file["n_clumps"][...] = np.isfinite(y).sum(1)
        file["clump_area"][...] = np.where(np.isfinite(y), 5.0, np.nan)
    return path, flux


def test_the_table_of_clumps_has_their_fluxes(planted: tuple[Path, np.ndarray], store: Path, tmp_path: Path) -> None:
    path, flux = planted
    out = astrodl.product("segmentation", store, path, tmp_path / "clumps.fits")
    table = Table.read(out)
    with open_store(store) as reader:
        rows = {name: number for number, name in enumerate(reader.object_id)}
    truth = np.array([flux[rows[name]] for name in table["object_id"]])
    assert len(table) == np.count_nonzero(flux) > 20
    # clumps are blue: g, r, i = 1, 1, 0.8 + z times the light
    isolated = (table["distance"] > 0.5) & (table["flags"] & clumps.FLAGS["input"] == 0)
    ratio_r = np.asarray(table["flux_r"] / truth)[isolated]
    assert np.median(ratio_r) == pytest.approx(1, abs=0.1)
    pull = np.asarray((table["flux_r"] - truth) / table["flux_error_r"])[isolated]
    assert 0.4 < np.mean(np.abs(pull) < 1) < 0.95
    assert (table["clump"] == 1).all()
    assert ((table["contrast"] > 0) & (table["contrast"] < 0.6)).mean() > 0.9
    assert set(table.colnames) >= {"flux_g", "colour_g_r", "snr", "probability", "area", "blue_share", "flags"}


def test_a_survey_without_clumps_has_an_empty_table(
    planted: tuple[Path, np.ndarray], store: Path, tmp_path: Path
) -> None:
    with h5py.File(planted[0], "r+") as file:
        for name in ("clump_y", "clump_x", "clump_probability", "clump_area"):
            file[name][...] = np.nan
    assert len(Table.read(astrodl.product("segmentation", store, planted[0], tmp_path / "clumps.fits"))) == 0


# -- bands and point-spread function ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store_with_bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("bands") / "store.h5", label_bands=["g"])


def test_fractions_are_predicted_in_every_labelled_band(store_with_bands: Path, tmp_path: Path) -> None:
    settings = small_settings("segmentation", epochs=20, learning_rate=0.005, ema=0.0)
    model = astrodl.load_model(
        astrodl.train("segmentation", store_with_bands, tmp_path, settings=settings, progress=False), device="cpu"
    )
    task = model.task
    assert task.fraction_bands == ["g", "r"]
    with open_store(store_with_bands) as reader:
        images, labels = reader.images(np.arange(40, 80)), task.labels(reader, np.arange(40, 80), all_bands=True)
        predicted = model.predict(images, sky_sigma=reader.sky_sigma[40:80])
    assert predicted["fraction"].shape == (40, 2, 2, SIZE, SIZE)
    np.testing.assert_array_equal(predicted["fraction"][:, 1, 0], predicted["bulge_fraction"])
    columns = {column.name: column.values for column in task.columns(predicted)}
    # the bulge has a smaller share in g, as in the truth
    assert (labels.bt[:, 0] < labels.bt[:, 1]).all()
    assert np.mean(columns["segmentation_bt_g"] < columns["segmentation_bt_r"]) > 0.8
    assert np.corrcoef(columns["segmentation_bt_g"], labels.bt[:, 0])[0, 1] > 0.5


def test_encircled_energy_is_that_of_a_gaussian() -> None:
    axis = np.arange(25) - 12
    psf = np.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / 1.5**2)[None, None]
    expected = 1 - np.exp(-0.5 * (np.array([1, 2, 3, 5]) / 1.5) ** 2)
    np.testing.assert_allclose(encircled_energy(psf)[0], expected, atol=0.02)
    assert np.isnan(encircled_energy(0 * psf)).all()


def test_the_point_spread_function_reaches_the_network(store: Path, tmp_path: Path) -> None:
    axis = np.arange(11) - 5
    width = np.linspace(0.8, 2.0, N_OBJECTS)[:, None, None, None]
    psf = np.exp(-0.5 * (axis[:, None] ** 2 + axis**2) / width**2).repeat(len(BANDS), 1).astype(np.float32)
    path = copy_store(store, tmp_path, {"psf": psf})
    task = make_task("segmentation", path, small_settings("segmentation"))
    batch = read_batch(task, path, 20)
    assert batch["psf"].shape == (20, 4 * len(BANDS))
    assert batch["psf"][:, 0].std() > 0.1
    network = task.build().train()
    torch.nn.init.ones_(network.unet.condition.weight)
    task.loss(network, batch, "main", 1.0)[0].backward()
    assert network.unet.condition.weight.grad.abs().sum() > 0
    # a store without it is refused, and a network can do without
    with open_store(store) as reader, pytest.raises(DataError, match="point-spread function"):
        task.inputs(Cutouts.from_store(reader, np.arange(3)))
    without = make_task("segmentation", path, {**small_settings("segmentation"), "psf": False})
    assert "psf" not in read_batch(without, path, 3)
    with open_store(store) as reader:
        assert objects.fit_context(Segmentation, SETTINGS, reader).constants["psf"] is None


def test_losses_are_chosen_by_name(store: Path) -> None:
    weights = dict.fromkeys(type(SETTINGS.losses).model_fields, 0.0)
    task = make_task(
        "segmentation", store, {**small_settings("segmentation"), "losses": weights | {"focal": 2.0, "tversky": 1.0}}
    )
    batch = read_batch(task, store, 20)
    loss, terms = task.loss(task.build(), batch, "main", 1.0)
    assert set(terms) == {"focal", "tversky"}
    torch.testing.assert_close(loss, 2 * terms["focal"] + terms["tversky"])


def test_light_of_pixels_without_flux_gives_finite_gradients(store: Path) -> None:
    task = make_task("segmentation", store, small_settings("segmentation"))
    network = task.build()
    torch.nn.init.constant_(network.unet.head[0].bias, -3.0)
    torch.nn.init.zeros_(network.unet.head[0].weight)
    task.loss(network, read_batch(task, store, 8), "main", 1.0)[0].backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_predictions_hold_all_that_the_table_needs(trained_model: Callable[[str], Path]) -> None:
    predictions = Predictions(trained_model("segmentation") / "predictions.h5")
    block = predictions.block(0, 10)
    assert {"clump_y", "clump_x", "clump_probability", "clump_area", "n_clumps"} <= set(block)


# -- further masks ----------------------------------------------------------------------------------------------------


def test_galaxies_are_told_from_their_neighbours_and_bars_and_arms_from_the_disk(store: Path, tmp_path: Path) -> None:
    y, x = np.indices((SIZE, SIZE))
    radius = np.hypot(y - SIZE // 2, x - SIZE // 2)
    with open_store(store) as reader:
        disk = reader.label("disk")
        light = disk + reader.label("bulge") + reader.label("clump")
        bright = light > 2 * reader.sky_sigma[:, 1, None, None]
    numbers = np.where(bright, 7, np.where(x > SIZE - 4, 3, 0)).astype(np.float32)
    path = copy_store(
        store,
        tmp_path,
        {"label/segment": numbers, "label/bar": disk * (radius < 3), "label/arm": 0 * disk},
    )
    settings = small_settings("segmentation", epochs=20, learning_rate=0.02, ema=0.0)
    trained = astrodl.train("segmentation", path, tmp_path / "model", settings=settings, progress=False)
    model = astrodl.load_model(trained, device="cpu")
    task, test = model.task, np.arange(40, 80)
    assert task.masks == ["segment", "bar", "arm"]
    assert {metric.name for metric in task.describe_metrics()} >= {"segment_iou", "bar_mae", "arm_mae"}
    with open_store(path) as reader:
        truth = task.truth(reader, test)
        predicted = model.predict(reader.images(test), sky_sigma=reader.sky_sigma[test])
    np.testing.assert_array_equal(truth["segment"], bright[test])
    assert truth["bar"][:, radius >= 3].max() == 0
    scores = task.score(predicted, truth, {})
    assert scores["segment_iou"]["value"] > 0.7
    assert scores["bar_mae"]["value"] < 0.2
    maps = astrodl.segment(model, np.zeros((len(BANDS), 40, 50), np.float32))
    assert maps["segment"].shape == maps["arm"].shape == (40, 50)
    # a loss without weight: no head
    losses = {"segment": 0.0, "arm": 0.0}
    assert make_task("segmentation", path, {**small_settings("segmentation"), "losses": losses}).masks == ["bar"]


def test_a_cutout_without_a_source_at_its_centre_has_no_segment(store: Path, tmp_path: Path) -> None:
    numbers = np.zeros((N_OBJECTS, SIZE, SIZE), np.float32)
    numbers[:, :4] = 2
    path = copy_store(store, tmp_path, {"label/segment": numbers})
    with open_store(path) as reader:
        assert not read_segment(reader, np.arange(3)).any()
