"""Checks that every figure must pass."""

import numpy as np
import pytest

from astrodl.plots.images import contact_sheet
from astrodl.plots.latent import latent_plane, reconstructions
from astrodl.plots.morphology import (
    accuracy_against_snr,
    class_gallery,
    confusion_matrix,
    prediction_set_sizes,
    reliability_diagram,
    roc_curves,
)
from astrodl.plots.outliers import detection_curves, ranked_sheet, recall_by_kind, score_histogram, score_trend
from astrodl.plots.photoz.bins import imbalance_bias, tomographic_bins
from astrodl.plots.photoz.coverage import coverage_curve
from astrodl.plots.photoz.pdf import example_pdfs, pit_histogram, redshift_distribution
from astrodl.plots.photoz.scatter import redshift_scatter, redshift_trends
from astrodl.plots.segmentation import bulge_to_total, clump_detection, segmentation_gallery
from astrodl.plots.splits import splits_overview
from astrodl.plots.votes import fraction_errors, fraction_scatter

CLASSES = ["elliptical", "spiral", "merger"]
EDGES = np.linspace(0, 2, 101)


def table(rng, n):
    """Draw the columns that the figures need for n objects."""
    z = rng.uniform(0.1, 1.9, n)
    pdf = np.exp(-0.5 * ((0.5 * (EDGES[1:] + EDGES[:-1]) - z[:, None]) / 0.1) ** 2)
    return {
        "z": z,
        "z_phot": z + 0.05 * rng.normal(size=n),
        "pdf": pdf / (0.02 * pdf.sum(axis=1, keepdims=True)),
        "unit": rng.random(n),
        "label": rng.integers(0, 3, n),
        "probability": rng.dirichlet(np.ones(3), n),
        "oddity": np.where(np.arange(n) % 5 == 0, "gravitational_lens", ""),
        "rgb": rng.random((n, 8, 8, 3)),
        "maps": rng.random((n, 8, 8)),
    }


FIGURES = {
    "accuracy_against_snr": lambda t: accuracy_against_snr(1 + t["unit"], t["label"] > 0),
    "bulge_to_total": lambda t: bulge_to_total(t["unit"], t["unit"], baselines={"constant": t["unit"]}),
    "class_gallery": lambda t: class_gallery(t["rgb"], t["probability"], t["label"], CLASSES),
    "clump_detection": lambda t: clump_detection([t["unit"]] * 2, t["label"] > 0, t["unit"], t["label"] > 0),
    "confusion_matrix": lambda t: confusion_matrix(np.diag(np.bincount(t["label"], minlength=3)), CLASSES),
    "contact_sheet": lambda t: contact_sheet(t["rgb"], list(t["oddity"])),
    "coverage_curve": lambda t: coverage_curve(t["unit"], baselines={"a method with a very long name " * 2: t["unit"]}),
    "detection_curves": lambda t: detection_curves(t["unit"], t["oddity"] != ""),
    "example_pdfs": lambda t: example_pdfs(t["pdf"], EDGES, t["z"], n_total=len(t["z"])),
    "fraction_errors": lambda t: fraction_errors(t["probability"], t["probability"], t["probability"]),
    "fraction_scatter": lambda t: fraction_scatter(t["probability"], t["probability"], CLASSES),
    "imbalance_bias": lambda t: imbalance_bias(t["z"], {"plain": t["z_phot"]}),
    "latent_plane": lambda t: latent_plane(t["probability"], classes=list(t["oddity"]), bt=t["unit"]),
    "pit_histogram": lambda t: pit_histogram(t["unit"], baselines={"forest": t["unit"]}),
    "prediction_set_sizes": lambda t: prediction_set_sizes(t["probability"] > 0.2, t["label"], nominal=0.9),
    "ranked_sheet": lambda t: ranked_sheet(t["rgb"], t["unit"], t["oddity"]),
    "recall_by_kind": lambda t: recall_by_kind(t["unit"], t["oddity"]),
    "reconstructions": lambda t: reconstructions(t["rgb"], t["rgb"], t["maps"], n_total=len(t["z"])),
    "redshift_distribution": lambda t: redshift_distribution(t["pdf"], EDGES, t["z"], baselines={"forest": t["pdf"]}),
    "redshift_scatter": lambda t: redshift_scatter(t["z"], t["z_phot"], baselines={"kNN": t["z_phot"]}),
    "redshift_trends": lambda t: redshift_trends(t["z"], t["z_phot"], baselines={"kNN": t["z_phot"]}),
    "reliability_diagram": lambda t: reliability_diagram(t["probability"].max(axis=1, initial=0), t["label"] > 0),
    "roc_curves": lambda t: roc_curves(t["probability"], t["label"], CLASSES, baselines={"forest": t["probability"]}),
    "score_histogram": lambda t: score_histogram(t["unit"], t["oddity"]),
    "score_trend": lambda t: score_trend(t["unit"], t["z"], oddity=t["oddity"], logarithmic=True),
    "segmentation_gallery": lambda t: segmentation_gallery(
        t["rgb"],
        clump_truth=t["maps"] > 0.9,
        clump_predicted=t["maps"],
        bulge_truth=t["maps"],
        bulge_predicted=t["maps"],
        n_total=len(t["z"]),
    ),
    "splits_overview": lambda t: splits_overview(t["label"], ra=t["z"], dec=t["z"], classes=t["oddity"], z=t["z"]),
    "tomographic_bins": lambda t: tomographic_bins(t["pdf"], EDGES, t["z"], t["z_phot"]),
}
SHEETS = {"class_gallery", "contact_sheet", "ranked_sheet", "reconstructions", "segmentation_gallery"}
"""Figures of images, without axes."""
OTHER_COUNTS = {"clump_detection", "contact_sheet", "fraction_errors"}
"""Figures whose heading does not contain the number of galaxies."""


@pytest.mark.parametrize("n", [0, 1, 3, 60])
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_any_number_of_objects_has_a_heading_with_the_count_and_labels(name, n, rng, draw):
    figure = draw(FIGURES[name](table(rng, n)))
    if name not in OTHER_COUNTS:
        heading = figure.get_suptitle() or figure.axes[0].texts[0].get_text()
        assert f"{n} galax" in heading
    if name not in SHEETS and n:
        assert figure.get_supxlabel() or any(axes.get_xlabel() for axes in figure.axes)
        assert figure.get_supylabel() or any(axes.get_ylabel() or not len(axes.get_yticks()) for axes in figure.axes)


@pytest.mark.parametrize("name", FIGURES)
def test_missing_values_are_drawn(name, rng, draw):
    columns = table(rng, 30)
    missing = {key: values * np.nan if values.dtype.kind == "f" else values for key, values in columns.items()}
    missing["rgb"] = columns["rgb"]
    if name in ("prediction_set_sizes", "roc_curves", "class_gallery"):
        missing["label"] = np.full(30, -1)
    draw(FIGURES[name](missing))


@pytest.mark.parametrize("name", FIGURES)
def test_equal_values_are_drawn(name, rng, draw):
    columns = {key: np.repeat(values[:1], 30, axis=0) for key, values in table(rng, 30).items()}
    draw(FIGURES[name](columns))
