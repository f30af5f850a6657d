"""One loss out of several tasks' losses, with weights that are given or learned."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Task", "UncertaintyWeighting", "weighted_loss"]

Task = Literal["classification", "regression"]


def weighted_loss(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of scalar losses.

    Args:
        losses: By task.
        weights: By task; each has one.

    Raises:
        ValueError: The tasks are not the same.
    """
    if losses.keys() != weights.keys():
        raise ValueError(f"losses are of {', '.join(losses)}, weights of {', '.join(weights)}; expected the same tasks")
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


class UncertaintyWeighting(nn.Module):
    """A weighted sum of scalar losses whose weights are learned: a task with more noise counts less.

    Each task has an observation noise σ², learned as its logarithm s. A regression's mean squared error L becomes
    L / 2σ² + log σ, a classification's cross entropy L / σ² + log σ; the logarithm keeps σ from growing for ever.

    Source: Kendall et al., "Multi-task learning using uncertainty to weigh losses for scene geometry and semantics",
    CVPR 2018.
    """

    factor: Tensor

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.log_variance = nn.Parameter(torch.zeros(len(tasks)))
        self.register_buffer("factor", torch.tensor([0.5 if kind == "regression" else 1.0 for kind in tasks.values()]))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum for one batch.

        Raises:
            ValueError: The tasks are not those that it was made for.
        """
        if set(losses) != set(self.tasks):
            raise ValueError(f"losses are of {', '.join(losses)}; expected {', '.join(self.tasks)}")
        each = torch.stack([losses[name] for name in self.tasks])
        return (self.factor * torch.exp(-self.log_variance) * each + 0.5 * self.log_variance).sum()
