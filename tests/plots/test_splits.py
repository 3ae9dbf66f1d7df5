import numpy as np
import pytest

from astrodl.plots.splits import splits_overview


@pytest.fixture
def survey(rng):
    n = 300
    classes = rng.choice(["disk", "elliptical", "merger", ""], n, p=[0.5, 0.25, 0.15, 0.1])
    positions = {"ra": rng.uniform(10, 11, n), "dec": rng.uniform(0, 1, n)}
    return {"split": np.arange(n) % 3, **positions, "classes": classes, "z": rng.gamma(3, 0.2, n)}


def panels(figure):
    return {axes.get_label(): axes for axes in figure.axes}


def test_east_is_to_the_left_and_the_legend_counts_the_splits(survey, texts):
    figure = splits_overview(**survey)
    assert "train (100)" in texts(figure)
    left, right = panels(figure)["sky"].get_xlim()
    assert left > right


def test_objects_without_a_split_have_their_own_colour(survey):
    figure = splits_overview(**{**survey, "split": np.arange(300) % 4})
    colors = {tuple(points.get_facecolor()[0]) for points in panels(figure)["sky"].collections}
    assert len(colors) == 4


def test_a_field_across_zero_hours_stays_together(rng):
    figure = splits_overview(np.zeros(50, int), ra=rng.uniform(-0.2, 0.2, 50) % 360, dec=rng.uniform(0, 0.4, 50))
    assert np.ptp(figure.axes[0].collections[0].get_offsets()[:, 0]) < 1


def test_class_fractions_are_among_objects_of_known_class(survey):
    axes = panels(splits_overview(**survey))["classes"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["disk", "elliptical", "merger"]
    for number, line in enumerate(axes.lines):
        members = survey["classes"][survey["split"] == number]
        expected = [(members == name).sum() / (members != "").sum() for name in ("disk", "elliptical", "merger")]
        np.testing.assert_allclose(line.get_xdata(), expected)


def test_redshift_distributions_are_normalised(survey):
    axes = panels(splits_overview(**survey))["z"]
    for patch in axes.patches:
        data = patch.get_data()
        assert (data.values * np.diff(data.edges)).sum() == pytest.approx(1, abs=0.03)


def test_rare_classes_are_left_out(survey):
    classes = np.array([f"class {k % 40}" for k in range(300)])
    axes = panels(splits_overview(**{**survey, "classes": classes}))["classes"]
    assert len(axes.get_yticklabels()) == 12
    assert "40" in axes.get_title(loc="left")


def test_missing_columns_are_named(survey, texts):
    split = survey["split"]
    assert "no coordinates" in texts(splits_overview(split))
    assert "no redshifts" in texts(splits_overview(split, z=np.full(300, np.nan)))
    assert "no classes" in texts(splits_overview(split, classes=[""] * 300))
    assert "299 known" in texts(splits_overview(split, z=np.r_[np.nan, survey["z"][1:]]))
    assert "test (2)" in texts(splits_overview([2, 2], z=[0.5, 0.5], ra=[1.0, np.nan], dec=[0.0, 0.0]))
