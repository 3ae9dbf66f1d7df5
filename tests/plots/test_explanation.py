"""Figures of explanations."""

import numpy as np
import pytest

from astrodl.plots.explanation import (
    attribution_sheet,
    band_share_curve,
    deletion_curves,
    filter_sheet,
    mean_map_sheet,
    panel_sheet,
)

BANDS = ["g", "r", "i"]


def planted(n: int = 2) -> np.ndarray:
    """Return maps whose sums are 1, -2 and 3."""
    maps = np.zeros((n, 3, 16, 16))
    maps[:, :, 7:9, 7:9] = np.array([1, -2, 3])[:, None, None] / 4
    return maps


def test_a_sheet_has_image_map_overlay_and_the_sum_of_each_band(rng, draw):
    figure = draw(
        attribution_sheet(
            rng.random((2, 16, 16, 3)), planted(), BANDS, ["a", "b"], unit="nats", heading="maps", warning="fails"
        )
    )
    assert len(figure.axes) == 8
    assert "fails" in [text.get_text() for text in figure.texts]
    bars = [bar.get_width() for bar in figure.axes[3].patches]
    np.testing.assert_allclose(bars, [1, -2, 3])
    assert "nats" in figure.axes[1].get_title("left")


def test_mean_maps_have_rings_and_bands(rng, draw):
    figure = draw(
        mean_map_sheet(
            rng.random((2, 16, 16, 3)), planted(), BANDS, ["a (5)", "b (9)"], heading="means", edge=3.0, warning="fails"
        )
    )
    assert "fails" in [text.get_text() for text in figure.texts]
    rings = [bar.get_height() for bar in figure.axes[2].patches]
    assert rings[0] == pytest.approx(2)
    assert sum(rings) == pytest.approx(2)
    np.testing.assert_allclose([bar.get_width() for bar in figure.axes[3].patches], [1, -2, 3])


def test_curves_of_failed_methods_are_labelled(rng, draw):
    curves = {name: rng.random((5, 3)) for name in ("brightest", "random", "gradient")}
    figure = draw(deletion_curves([0.01, 0.1, 0.4], curves, unit="nats", heading="h", failed=["gradient"]))
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert "gradient (fails randomisation)" in labels
    lines = {line.get_label(): line for line in figure.axes[0].containers}
    np.testing.assert_allclose(lines["random"].lines[0].get_ydata(), curves["random"].mean(0))


def test_the_share_of_a_band_is_its_mean_in_bins_of_redshift(rng, draw):
    z = np.sort(rng.uniform(0.1, 1.5, 80))
    share = rng.dirichlet(np.ones(3), 80)
    limits = [[0, 0.4], [0.4, 0.9], [0.9, 2]]
    figure = draw(band_share_curve(z, {"gradient": share}, BANDS, limits, heading="h", n_bins=4, failed=["gradient"]))
    assert figure.axes[0].get_title("left") == "gradient (fails randomisation)"
    first = figure.axes[0].containers[0].lines[0].get_ydata()
    assert first[0] == pytest.approx(share[:20, 0].mean(), rel=0.1)
    assert "4000" in figure.axes[0].get_xlabel()


def test_filters_and_panels_are_drawn(rng, draw):
    assert len(draw(filter_sheet(rng.normal(size=(4, 3, 5, 5)), BANDS, heading="h")).axes) == 12
    rows = {"galaxy": rng.random((1, 8, 8, 3)), "maps": rng.normal(size=(4, 8, 8))}
    assert len(draw(panel_sheet(rows, heading="h", titles={"maps": list("abcd")})).axes) == 8
