"""Health of an adversarial training."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, enable_grad, nn

from astrodl.data.batches import Batch, Dataset
from astrodl.data.normalize import Normalization
from astrodl.metrics.autoencoder import compare_samples
from astrodl.metrics.generated import frechet_distance, standardize_measurements
from astrodl.models.gan import EncoderGAN
from astrodl.photometry.form import measure_form

__all__ = ["COLLAPSED", "LEAST_JUDGED", "draw_galaxies", "judge_galaxies", "judge_generator", "measure_health"]

COLLAPSED = 0.3
"""Diversity below which generated galaxies are so alike that the training has collapsed."""
LEAST_JUDGED = 20
"""Number of held-out objects from which on a generator is said to have collapsed: few galaxies have no scatter."""


def measure_health(critic: nn.Module, real: Tensor, decoded: Tensor, drawn: Tensor, noisy: Tensor) -> dict[str, Tensor]:
    """Measure on held-out objects whether critic and generator learn.

    Parameters
    ----------
    critic
        Critic, (B, C, H, W) -> (B,).
    real, decoded
        Galaxies, and the same as the generator redraws them.
    drawn, noisy
        Galaxies from random codes, without and with the noise of the sky.

    Returns
    -------
    dict of scalars
        `distance`: mean value of real minus generated galaxies; `gradient`: mean norm of the gradient of the critic
        half way between them; `diversity`: standard deviation of drawn galaxies over that of redrawn ones, the root of
        the mean over pixels of the variances. A collapsed generator draws much the same galaxy always: 0.
    """
    with enable_grad():
        between = ((real + noisy) / 2).detach().float().requires_grad_(True)
        values = critic(between).sum()
        values.backward(inputs=[between])
    assert between.grad is not None
    variances = [images.float().var(0, unbiased=False).mean() for images in (drawn, decoded)]
    return {
        "distance": critic(real).mean() - critic(noisy).mean(),
        "gradient": between.grad.flatten(1).norm(dim=1).mean(),
        "diversity": (variances[0] / variances[1].clamp_min(1e-12)).sqrt(),
    }


def draw_galaxies(
    network: EncoderGAN, batches: Iterable[Batch], normalization: Normalization, n_objects: int = 500
) -> dict[str, np.ndarray]:
    """Draw galaxies beside real ones, with the sky noise of the real ones.

    Returns
    -------
    dict of arrays
        Linear fluxes `real` and `generated`, (n, bands, y, x), their noise `sky_sigma` (n, bands), and the number
        `diversity` as in `measure_health`.
    """
    generator = torch.Generator().manual_seed(0)
    found: dict[str, list[np.ndarray]] = {"real": [], "generated": [], "sky_sigma": []}
    pictures: list[list[Tensor]] = [[], []]
    softening = np.asarray(normalization.softening, np.float32)
    for batch in batches:
        real = batch["image"]
        codes = torch.randn(len(real), network.latent, generator=generator).to(real.device)
        drawn = network.generator(codes).float()
        pictures[0].append(drawn.cpu())
        pictures[1].append(network(real).float().cpu())
        sky = (batch["sky"].float().cpu().numpy() * softening).astype(np.float32)
        clean = normalization.invert(drawn.cpu().numpy())
        noise = torch.randn(drawn.shape, generator=generator).numpy()
        found["real"].append(normalization.invert(real.float().cpu().numpy()))
        found["generated"].append(clean + sky[..., None, None] * noise)
        found["sky_sigma"].append(sky)
        if sum(map(len, found["real"])) >= n_objects:
            break
    variances = [torch.cat(images).var(0, unbiased=False).mean() for images in pictures]
    diversity = np.asarray(float((variances[0] / variances[1].clamp_min(1e-12)).sqrt()))
    return {name: np.concatenate(arrays)[:n_objects] for name, arrays in found.items()} | {"diversity": diversity}


def judge_galaxies(drawn: Mapping[str, np.ndarray], bands: Sequence[str]) -> dict[str, Any]:
    """Compare generated galaxies with real ones in size, concentration and colours.

    Returns
    -------
    dict
        `diversity`; `frechet`, the Frechet distance in this space, and `frechet_real`, that of the two halves of the
        real galaxies; `tests`: name -> statistic of the Kolmogorov-Smirnov test, and shift in standard deviations.
    """
    real, generated = (measure_form(drawn[name], drawn["sky_sigma"], bands) for name in ("real", "generated"))
    kept = {name: values for name, values in real.items() if np.isfinite(values).mean() > 0.5}
    half = len(drawn["real"]) // 2
    halves = [{name: values[part] for name, values in kept.items()} for part in (slice(half), slice(half, None))]
    known, made, *two = standardize_measurements(kept, generated, *halves) if kept else [np.empty((0, 0))] * 4
    n_needed = 2
    judged: dict[str, Any] = {"diversity": float(drawn["diversity"]), "tests": {}}
    if min(map(len, (known, made, *two))) < n_needed:
        return judged
    judged |= {"frechet": frechet_distance(known, made), "frechet_real": frechet_distance(*two)}
    for name, values in kept.items():
        if np.isfinite(generated[name]).sum() >= n_needed:
            test = compare_samples(values, generated[name], n_draws=2)
            judged["tests"][name] = [test.statistic, test.shift]
    return judged


def judge_generator(
    network: EncoderGAN, held_out: Dataset, normalization: Normalization, bands: Sequence[str]
) -> dict[str, Any]:
    """Compare generated galaxies with real ones; warn of a collapsed generator.

    Returns
    -------
    dict
        That of `judge_galaxies`, with `n_objects`, the number of real galaxies there were.
    """
    judged = judge_galaxies(draw_galaxies(network, held_out.in_order(128), normalization), bands)
    if len(held_out) >= LEAST_JUDGED and judged["diversity"] < COLLAPSED:
        warnings.warn(
            f"outliers: the generator has collapsed: its galaxies scatter {judged['diversity']:.2f} times as much as "
            f"those it redraws (healthy: above {COLLAPSED}); train longer, or choose another method",
            stacklevel=3,
        )
    return {**judged, "n_objects": len(held_out)}
