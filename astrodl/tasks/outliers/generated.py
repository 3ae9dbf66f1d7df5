"""Figures of generated galaxies beside real ones, and what is said of their health."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from astrodl.data.batches import Batch, ResidentDataset
from astrodl.data.normalize import Normalization
from astrodl.metrics.autoencoder import compare_samples
from astrodl.models.gan import EncoderGAN
from astrodl.photometry.form import measure_form
from astrodl.plots.autoencoder import compared_distributions, generated_sheet
from astrodl.plots.images import balance_bands, lupton_rgb, order_screen_channels
from astrodl.store import Reader
from astrodl.tasks.outliers.health import COLLAPSED, LEAST_JUDGED, draw_galaxies

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from astrodl.tasks.model import Model

__all__ = ["describe_health", "draw_generated", "draw_sheet"]

_N_SHOWN, _N_COMPARED = 20, 300


def draw_sheet(
    network: EncoderGAN, batches: Iterable[Batch], normalization: Normalization, bands: Sequence[str]
) -> "Figure":
    """Draw real galaxies above generated ones with the noise of the real ones; the codes are the same in each call."""
    return _draw_sheet(draw_galaxies(network, batches, normalization, _N_SHOWN), bands, "Real and generated galaxies")


def draw_generated(model: "Model", store: Reader, indices: np.ndarray) -> "tuple[Figure, Figure]":
    """Draw generated galaxies beside real ones, saying their health, and the distributions of size and colours of both.

    Parameters
    ----------
    model : Model
        Trained model of this task.
    store, indices
        Store and places of the real galaxies, of which the first 300 are compared.
    """
    task, judged = model.task, model.task.context.constants["generated"]
    arrays = task.inputs(task.read(store, indices[:_N_COMPARED]))
    batches = ResidentDataset(arrays, model.device).in_order(128)
    with torch.no_grad():
        drawn = draw_galaxies(model.network, batches, task.context.normalization, _N_COMPARED)
    return _draw_sheet(drawn, model.bands, describe_health(judged)), _draw_forms(drawn, model.bands)


def describe_health(judged: Mapping[str, Any]) -> str:
    """Write diversity and Frechet distance of generated galaxies, and whether the generator has collapsed.

    Parameters
    ----------
    judged
        Result of `judge_galaxies`, with the number `n_objects` of the galaxies that were judged; of too few a collapse
        is not said.
    """
    diversity = judged["diversity"]
    collapsed = judged.get("n_objects", LEAST_JUDGED) >= LEAST_JUDGED and diversity < COLLAPSED
    texts = ["the generator has COLLAPSED"] if collapsed else []
    texts.append(f"diversity {diversity:.2f} (healthy: above {COLLAPSED})")
    if "frechet" in judged:
        texts.append(f"Fréchet distance {judged['frechet']:.2g} (halves of the real ones {judged['frechet_real']:.2g})")
    return "Generated galaxies: " + ", ".join(texts)


def _draw_sheet(drawn: Mapping[str, np.ndarray], bands: Sequence[str], heading: str) -> "Figure":
    channels = order_screen_channels(bands)
    real, generated, sky = (drawn[name][:_N_SHOWN, channels] for name in ("real", "generated", "sky_sigma"))
    rgb = lupton_rgb(np.concatenate([real, generated]), np.concatenate([sky, sky]), band_factors=balance_bands(real))
    return generated_sheet(rgb[: len(real)], rgb[len(real) :], heading=heading)


def _draw_forms(drawn: Mapping[str, np.ndarray], bands: Sequence[str]) -> "Figure":
    real, made = (measure_form(drawn[name], drawn["sky_sigma"], bands) for name in ("real", "generated"))
    tests = {
        name: compare_samples(real[name], made[name])
        for name in real
        if min(np.isfinite(sample[name]).sum() for sample in (real, made)) >= LEAST_JUDGED
    }
    return compared_distributions(real, made, tests)
