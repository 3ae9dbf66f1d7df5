"""Numbers of a classification that can be explained."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from astrodl.explanation.target import Quantity
from astrodl.tasks.inputs import network_input

__all__ = ["list_quantities"]

_FLOOR = 1e-30


def list_quantities(classes: Sequence[str], *, has_logits: bool) -> tuple[Quantity, ...]:
    """Return the logit of the most probable class, and logit and probability of each class.

    The logit of class k is log p_k - log(1 - p_k) of the calibrated probabilities. `has_logits` says whether the
    network has an output per class.
    """

    def logit(predicted: Mapping[str, Tensor], chosen: Tensor) -> Tensor:
        logs = predicted["probability"].clamp_min(_FLOOR).log()
        own = logs.gather(1, chosen)[:, 0]
        others = logs.scatter(1, chosen, -torch.inf)
        return own - others.logsumexp(1)

    def best(predicted: Mapping[str, Tensor]) -> Tensor:
        return predicted["probability"].argmax(1, keepdim=True)

    def constant(k: int) -> Callable[[Mapping[str, Tensor]], Tensor]:
        return lambda predicted: torch.full_like(best(predicted), k)

    def raw(network: nn.Module, batch: dict[str, Tensor], chosen: Tensor) -> Tensor:
        outputs: Tensor = network(network_input(batch), batch.get("features"))
        return outputs.float().gather(1, chosen)[:, 0]

    def probability(predicted: Mapping[str, Tensor], chosen: Tensor) -> Tensor:
        return predicted["probability"].gather(1, chosen)[:, 0]

    output = raw if has_logits else None
    found = [Quantity("class", "nats", "logit of the most probable class", logit, best, output, classes)]
    for k, name in enumerate(classes):
        found.append(Quantity(f"logit_{name}", "nats", f"logit of class {name}", logit, constant(k), output))
        found.append(Quantity(f"p_{name}", "probability", f"probability of class {name}", probability, constant(k)))
    return tuple(found)
