"""The graph of a training pass, cut between the model and its losses.

Losses are differentiated once, down to what the model made; their graph is freed, and what they ask for enters the
model's own backward pass. The gradient at the reconstruction is then at hand, so that an adaptive adversary compares
gradients without a second pass through a perceptual network or a compiled decoder.
"""

from dataclasses import replace

import torch
from torch import Tensor

from tokenizer.model import StepOutput


class Cut:
    """What a pass made, as leaves of the losses' graph.

    Args:
        made: the pass, with the model's graph.

    Attributes:
        step: the same values without that graph; losses and penalties are computed from it.
    """

    def __init__(self, made: StepOutput) -> None:
        self._made: list[Tensor] = []
        self._leaves: list[Tensor] = []
        bottleneck = replace(
            made.bottleneck, z=self._leaf(made.bottleneck.z), loss=self._leaf(made.bottleneck.loss)
        )
        self.step = replace(
            made,
            x_hat=self._leaf(made.x_hat),
            z=self._leaf(made.z),
            bottleneck=bottleneck,
            penalties={kind: self._leaf(value) for kind, value in made.penalties.items()},
            extras={name: self._leaf(value) for name, value in made.extras.items()},
        )
        self._gradients: list[Tensor | None] = [None] * len(self._leaves)

    def differentiate(self, loss: Tensor) -> None:
        """Add the gradient of a scalar of ``step``; its graph is freed."""
        gradients = torch.autograd.grad(loss, self._leaves, allow_unused=True)
        for index, gradient in enumerate(gradients):
            if gradient is not None:
                self.add(self._leaves[index], gradient)

    def add(self, leaf: Tensor, gradient: Tensor) -> None:
        """Add to the gradient of one of the tensors of ``step``."""
        index = next(index for index, known in enumerate(self._leaves) if known is leaf)
        before = self._gradients[index]
        self._gradients[index] = gradient if before is None else before + gradient

    def gradient(self, leaf: Tensor) -> Tensor:
        """What was added for one of the tensors of ``step``; zeros if nothing was."""
        index = next(index for index, known in enumerate(self._leaves) if known is leaf)
        known = self._gradients[index]
        return torch.zeros_like(leaf) if known is None else known

    def surrogate(self) -> Tensor:
        """A scalar whose backward pass carries the gradients into the model; its value means nothing."""
        pairs = zip(self._made, self._gradients, strict=True)
        terms = [(value * gradient).sum().float() for value, gradient in pairs if gradient is not None]
        return torch.stack(terms).sum()

    def _leaf(self, value: Tensor) -> Tensor:
        if not value.requires_grad:
            return value
        for made, leaf in zip(self._made, self._leaves, strict=True):
            if made is value:
                return leaf
        leaf = value.detach().requires_grad_()
        self._made.append(value)
        self._leaves.append(leaf)
        return leaf
