"""Adversarial examples, made for each modality on its own, to train with or to see what a model leans on."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["fgsm"]


def fgsm(
    loss: Callable[[Mapping[str, Tensor]], Tensor], inputs: Mapping[str, Tensor], epsilon: Mapping[str, float]
) -> dict[str, Tensor]:
    """Inputs that are moved a step in the direction which raises the loss most: the fast gradient sign method.

    Every value of a modality in ``epsilon`` moves by exactly its step or, where the loss does not depend on it, not at
    all; the other modalities stay as they are, which is an attack on a single sensor. Gradients of the model's own
    parameters are left alone. A network in training mode updates its batch statistics in ``loss`` as in any other pass.

    Args:
        loss: A scalar of the inputs, e.g. the cross entropy of a network's logits.
        inputs: Normalised tensors [B, ...] by modality.
        epsilon: The step by modality, in units of the normalised input.

    Returns:
        New tensors for the modalities that were moved, the given ones for the others.

    Raises:
        ValueError: ``epsilon`` names something that is not an input, or is negative.

    Source: Goodfellow et al., "Explaining and harnessing adversarial examples", ICLR 2015; against one
    modality of several: Yang et al., "Defending multimodal fusion models against single-source adversaries", CVPR 2021.
    """
    if unknown := sorted(epsilon.keys() - inputs.keys()):
        raise ValueError(f"epsilon is given for {unknown[0]}; the inputs are {', '.join(inputs)}")
    if min(epsilon.values(), default=0.0) < 0:
        raise ValueError(f"epsilon = {dict(epsilon)} has a negative step")
    moved = {name: inputs[name].detach().clone().requires_grad_() for name in epsilon}
    if not moved:
        return dict(inputs)
    with torch.enable_grad():
        slopes = torch.autograd.grad(loss({**inputs, **moved}), list(moved.values()))
    steps = {name: epsilon[name] * slope.sign() for name, slope in zip(moved, slopes, strict=True)}
    return {name: each if name not in steps else each.detach() + steps[name] for name, each in inputs.items()}
