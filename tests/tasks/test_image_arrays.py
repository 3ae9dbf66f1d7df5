"""Images in memory: the numbers of the command line, bands and units by name, and one clear error for each mistake."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import h5py
import numpy as np
import pytest

import astrodl
from astrodl import tasks
from astrodl.calibration.training_range import INPUT_FLAGS
from astrodl.errors import DataError, StoreError
from astrodl.photometry.features import measure
from astrodl.photometry.sky import block_sky, border_sky
from astrodl.pipeline.predictions import Predictions
from astrodl.store import open_store
from astrodl.store.layout import dataset_digest
from astrodl.tasks.image_arrays import sky_noise
from astrodl.tasks.model import Model, load_model
from tests.ingestion import toy
from tests.small_store import BANDS, SIZE
from tests.small_task import small_settings


@pytest.fixture(scope="module")
def measured_store(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small store with the sky noise that ingestion would measure."""
    path = Path(shutil.copy(store, tmp_path_factory.mktemp("measured")))
    with h5py.File(path, "r+") as file:
        file["sky_sigma"][:] = block_sky(file["image"][:])
        file["features"][:] = measure(
            file["image"][:], sky_sigma=file["sky_sigma"][:], pixel_scale_arcsec=0.1, bands=BANDS
        )[0]
        for name in ("sky_sigma", "features"):
            file[name].attrs["sha256"] = dataset_digest(file[name])
    return path


@pytest.fixture(scope="module")
def train(measured_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("models")

    def run(name: str) -> Path:
        path = folder / name / "model.safetensors"
        if not path.exists():
            settings = small_settings(name, epochs=1)
            astrodl.train(name, measured_store, folder / name, settings=settings, progress=False)
        return path

    return run


@pytest.fixture(scope="module")
def model(train: Callable[[str], Path]) -> Model:
    return load_model(train("morphology"), device="cpu")


@pytest.fixture
def images(measured_store: Path) -> np.ndarray:
    with open_store(measured_store) as reader:
        return reader.images(np.arange(1, 13))


@pytest.mark.parametrize("name", tasks.NAMES)
def test_arrays_alone_give_the_predictions_of_the_store(
    name: str, train: Callable[[str], Path], measured_store: Path, tmp_path: Path
) -> None:
    path = train(name)
    astrodl.predict(name, str(measured_store), [str(path)], str(tmp_path / "p.h5"))
    stored = Predictions(tmp_path / "p.h5").read()
    with open_store(measured_store) as reader:
        predicted = astrodl.load_model(str(path)).predict(reader.images())
    assert set(predicted) == set(stored)
    for key, values in stored.items():
        assert predicted[key].dtype == values.dtype or values.ndim >= 3, key
        np.testing.assert_allclose(
            predicted[key], values, rtol=2e-3, atol=2e-3 if values.ndim >= 3 else 1e-6, err_msg=key
        )


def test_the_noise_of_padded_images_is_that_inside_the_padding_and_of_mosaic_edges_that_of_the_frame() -> None:
    rng = np.random.default_rng(0)
    native = rng.normal(0, [[[1.0]], [[3.0]]], (2, 40, 38)).astype(np.float32)
    padded = np.full((1, 2, 64, 64), np.nan, np.float32)
    padded[0, :, 12:52, 13:51] = native
    assert np.array_equal(sky_noise(padded)[0], np.float32([border_sky(band)[1] for band in native]))
    edge = rng.normal(0, 1, (1, 2, 64, 64)).astype(np.float32)
    edge[..., :20] = np.nan
    assert np.array_equal(sky_noise(edge), block_sky(edge))
    assert np.isnan(sky_noise(np.full((1, 2, 16, 16), np.nan, np.float32))).all()


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray], rtol: float = 1e-4) -> None:
    for key, values in first.items():
        np.testing.assert_allclose(second[key], values, rtol=rtol, atol=1e-5, err_msg=key)


def test_bands_are_brought_to_the_order_of_the_model(model: Model, images: np.ndarray) -> None:
    expected = model.predict(images, sky_sigma=np.full((12, 3), 0.2))
    given = np.stack([images[:, 2], 7 * images[:, 0], images[:, 0], images[:, 1]], axis=1)
    noise = np.full((12, 4), 0.2)
    noise[:, 1] = 9.0
    same(expected, model.predict(given, bands=["i", "z", "g", "r"], sky_sigma=noise))


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("nJy", 1e3),
        ("Jy", 1e-6),
        ("nanomaggies", 1 / 3.630780548),
        (u.uJy / u.pix, 1),
        (u.erg / u.s / u.cm**2 / u.Hz, 1e-29),
    ],
)
def test_units_are_converted(unit: Any, factor: float, model: Model, images: np.ndarray) -> None:
    expected = model.predict(images)
    scaled = images.astype(np.float64) * factor
    same(expected, model.predict(scaled, unit=unit), rtol=1e-3)
    if not isinstance(unit, str):
        same(expected, model.predict(scaled * unit), rtol=1e-3)
        same(expected, model.predict(scaled * unit, sky_sigma=sky_noise(images) * u.uJy), rtol=1e-3)


def test_masked_pixels_have_no_data(model: Model, images: np.ndarray) -> None:
    mask = np.zeros(images.shape, bool)
    mask[:, 0, :8] = True
    expected = model.predict(np.where(mask, np.nan, images))
    same(expected, model.predict(np.ma.array(images, mask=mask)))


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"bands": ["g", "r"]}, "2 names, the images have 3"),
    ({"bands": ["g", "r", "y"]}, "the model needs g, r, i, and band 'i' is missing"),
    ({"bands": ["g", "r", "r"]}, "a name occurs twice"),
    ({"bands": "gri"}, "must be a list of names"),
    ({"unit": "adu"}, "this model takes microjansky per pixel"),
    ({"unit": "relative"}, "this model takes microjansky per pixel"),
    ({"unit": "AB mags"}, "not a unit that astropy knows"),
    ({"unit": u.MJy / u.sr}, "this model takes microjansky per pixel"),
    ({"sky_sigma": np.ones((12, 2))}, r"sky_sigma has shape \(12, 2\), must be \(12, 3\)"),
    (
        {"sky_sigma": -np.ones((12, 3))},
        "sky_sigma reaches -1 to -1, must be the noise of a pixel",
    ),
    ({"sky_sigma": np.full((12, 3), np.inf)}, "sky_sigma reaches inf to inf"),
    ({"features": np.ones((12, 4))}, r"features have shape \(12, 4\)"),
    ({"bands": ["i", "r", "g"], "features": np.ones((12, 4))}, "features: they belong to the bands in the order"),
    ({"ebv": np.ones(5)}, "ebv has shape"),
    ({"ebv": ["high"] * 12}, "ebv: holds"),
    ({"planes": {"weights": np.ones(3)}}, "'weights' is not known; accepted: variance, mask, psf"),
    ({"planes": {"variance": np.ones((2, 3, SIZE, SIZE))}}, "planes: variance has shape"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=lambda value: str(value)[:40])
def test_wrong_arguments_are_one_clear_error(
    options: dict[str, Any], message: str, model: Model, images: np.ndarray
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        model.predict(images, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda im: im[:0], "there are none"),
        (lambda im: im[0, 0], "images have shape"),
        (lambda im: im[:, :2], "this model takes"),
        (lambda im: im[..., :31], "this model takes"),
        (lambda im: im.astype(complex), "real numbers"),
        (lambda im: im.astype(str), "real numbers"),
        (lambda im: None, "real numbers"),
        (lambda im: [im[0], im[1, :2]], "images: not an array"),
    ],
)
def test_wrong_images_are_one_clear_error(
    change: Callable[[Any], Any], message: str, model: Model, images: Any
) -> None:
    with pytest.raises(DataError, match=message):
        model.predict(change(images))


def test_a_unit_that_contradicts_that_of_the_images_is_refused(model: Model, images: np.ndarray) -> None:
    with pytest.raises(DataError, match="the images have the unit nJy"):
        model.predict(images * u.nJy, unit="uJy")


@pytest.mark.parametrize("name", tasks.NAMES)
def test_an_image_without_data_gets_no_value(name: str, train: Callable[[str], Path], images: np.ndarray) -> None:
    images[3] = np.nan
    images[4, 0] = np.nan
    model = load_model(train(name), device="cpu")
    with pytest.warns(UserWarning, match=f"{name}: 1 of 12 objects have no pixel with data"):
        predicted = model.predict(images)
    assert (predicted["input_flags"] & INPUT_FLAGS["no_data"] > 0).tolist() == [n == 3 for n in range(12)]
    for key, values in predicted.items():
        if values.dtype.kind == "f":
            assert np.isnan(values[3]).all(), key
            assert np.isfinite(np.delete(values, 3, axis=0)).all(), key
        elif not key.endswith("flags"):
            assert not values[3].any(), key


def test_objects_of_a_store_are_selected_by_a_list_or_a_mask(measured_store: Path) -> None:
    with open_store(measured_store) as reader:
        for wrong in (3, "T003", ["T003"], [1.5], slice(0, 3), [[1, 2]], [[1], [2, 3]], np.ones(5, bool)):
            with pytest.raises(StoreError):
                reader.images(wrong)
        with pytest.raises(StoreError, match="'Test': must be one of train, validation, test, rest, all"):
            reader.select("Test")  # type: ignore[arg-type]
        assert reader.images([]).shape == (0, 3, SIZE, SIZE)
        assert len(reader.images(range(4))) == 4


def test_the_functions_take_text_where_they_take_a_path(measured_store: Path, tmp_path: Path) -> None:
    text = str(measured_store)
    settings = small_settings("latent", epochs=1)
    path = astrodl.train("latent", text, str(tmp_path / "m"), settings=settings, progress=False)
    astrodl.predict("latent", text, str(path), str(tmp_path / "p.h5"))
    history = str(path.with_name("history.jsonl"))
    astrodl.evaluate("latent", text, str(tmp_path / "p.h5"), None, str(tmp_path / "metrics.json"), history=history)
    astrodl.catalog(text, str(tmp_path / "p.h5"), str(tmp_path / "c.fits"))
    load_model(str(path)).save(str(tmp_path / "again.safetensors"))
    assert [
        astrodl.check(str(tmp_path / name)) for name in ("p.h5", "metrics.json", "c.fits", "again.safetensors")
    ] == [[]] * 4


def test_noise_that_was_measured_outside_the_cutouts_must_be_given(measured_store: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(measured_store, tmp_path / "store.h5"))
    with h5py.File(path, "r+") as file:
        file["sky_sigma"][:] *= 0.5
    model_path = astrodl.train("latent", path, tmp_path, settings=small_settings("latent", epochs=1), progress=False)
    model = load_model(model_path, device="cpu")
    with open_store(path) as reader:
        images, sky_sigma = reader.images([1, 2]), reader.sky_sigma[[1, 2]]
    model.predict(images, sky_sigma=sky_sigma)
    with (
        pytest.warns(UserWarning, match="latent: noise unlike"),
        pytest.warns(UserWarning, match="latent: the sky noise of the training objects was measured on larger images"),
    ):
        model.predict(images)


@pytest.mark.parametrize(("native", "stored"), [(32, 32), (20, 32), (31, 32)])
def test_ingestion_measures_the_same_noise(native: int, stored: int, tmp_path: Path) -> None:
    toy.catalog().write(tmp_path / "catalog.fits")
    for number, identifier in enumerate(toy.catalog()["objid"]):
        toy.write_object(tmp_path / "images" / f"{identifier}.fits", number, size=native)
    astrodl.ingest(toy.settings(tmp_path, size=stored), tmp_path / "store.h5", progress=False)
    with open_store(tmp_path / "store.h5") as reader:
        np.testing.assert_allclose(sky_noise(reader.images()), reader.sky_sigma, rtol=1e-5)


def test_changed_weights_change_the_predictions(model: Model, images: np.ndarray) -> None:
    def predict() -> np.ndarray:
        return next(iter(model.predict(images).values()))

    before = predict()
    weights = {name: value.clone() for name, value in model.network.state_dict().items()}
    model.network.load_state_dict({name: 0.5 * value for name, value in weights.items()})
    assert not np.array_equal(predict(), before)
    model.network.load_state_dict(weights)
    np.testing.assert_array_equal(predict(), before)


def test_in_distribution_images_warn_of_nothing(model: Model, images: np.ndarray) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.predict(images)
        model.predict(images[0])
    assert not caught
