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


def test_sky_has_east_to_the_left_and_the_legend_counts_the_splits(survey, texts):
    figure = splits_overview(**survey)
    words = texts(figure)
    assert "300 galaxies" in words
    assert "train (100)" in words
    left, right = panels(figure)["sky"].get_xlim()
    assert left > right


def test_objects_that_are_predicted_only_have_a_colour_and_a_count_of_their_own(survey, texts):
    figure = splits_overview(**{**survey, "split": np.arange(300) % 4})
    assert "rest (75)" in texts(figure)
    assert len(panels(figure)["sky"].collections) == 4


def test_a_field_across_zero_hours_is_not_torn_apart(rng):
    figure = splits_overview(np.zeros(50, int), ra=rng.uniform(-0.2, 0.2, 50) % 360, dec=rng.uniform(0, 0.4, 50))
    assert np.ptp(figure.axes[0].collections[0].get_offsets()[:, 0]) < 1


def test_classes_are_drawn_at_their_share_of_the_known_ones(survey):
    axes = panels(splits_overview(**survey))["classes"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["disk", "elliptical", "merger"]
    for number, line in enumerate(axes.lines):
        inside = survey["classes"][survey["split"] == number]
        expected = [(inside == name).sum() / (inside != "").sum() for name in ("disk", "elliptical", "merger")]
        np.testing.assert_allclose(line.get_xdata(), expected)


def test_redshift_distributions_are_normalised(survey):
    axes = panels(splits_overview(**survey))["z"]
    for patch in axes.patches:
        data = patch.get_data()
        assert (data.values * np.diff(data.edges)).sum() == pytest.approx(1, abs=0.03)


def test_rare_classes_beyond_the_room_are_said_to_be_left_out(survey, texts):
    classes = np.array([f"kind {k % 40}" for k in range(300)])
    assert "the 12 largest of 40 classes" in texts(splits_overview(**{**survey, "classes": classes}))


def test_what_is_unknown_is_said_or_left_out(survey, texts):
    split = survey["split"]
    assert "no coordinates" in texts(splits_overview(split))
    assert "no redshifts" in texts(splits_overview(split, z=np.full(300, np.nan)))
    assert "no classes" in texts(splits_overview(split, classes=[""] * 300))
    assert "299 known" in texts(splits_overview(split, z=np.r_[np.nan, survey["z"][1:]]))
    assert "test (2)" in texts(splits_overview([2, 2], z=[0.5, 0.5], ra=[1.0, np.nan], dec=[0.0, 0.0]))
    texts(splits_overview([]))
