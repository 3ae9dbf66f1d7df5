"""Health of an adversarial training."""

from torch import Tensor, enable_grad, nn

__all__ = ["COLLAPSED", "measure_health"]

COLLAPSED = 0.3
"""Diversity below which generated galaxies are so alike that the training has collapsed."""


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
        `distance`: mean value of real minus generated galaxies; `gradient`: mean norm of the gradient of the critic half
        way between them; `diversity`: standard deviation of drawn galaxies over that of redrawn ones, the root of the mean
        over pixels of the variances. A collapsed generator draws much the same galaxy always: 0.
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
