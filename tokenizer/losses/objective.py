"""The weighted sum of a phase's losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tokenizer.losses import LossConfig
from tokenizer.losses.base import Loss
from tokenizer.model import StepOutput


@dataclass(frozen=True, slots=True)
class ObjectiveOutput:
    """The sum to descend, and each term for the log.

    Attributes:
        total: scalar with gradient.
        terms: unweighted detached scalars by kind.
    """

    total: Tensor
    terms: dict[str, Tensor]


class Objective(nn.Module):
    """Sum of losses by weight."""

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        self.weights = dict(weights)

    @classmethod
    def build(cls, configs: Sequence[LossConfig]) -> "Objective":
        """From a phase's list.

        Raises:
            ValueError: if the list is empty or names a kind twice.
        """
        kinds = [config.kind for config in configs]
        if not kinds or len(set(kinds)) != len(kinds):
            raise ValueError(f"losses must name at least one kind and none twice, got {kinds}")
        return cls({c.kind: c.build() for c in configs}, {c.kind: c.weight for c in configs})

    def forward(self, step: StepOutput, x: Tensor) -> ObjectiveOutput:
        """x (B, 3, *S) in [-1, 1]."""
        terms: dict[str, Tensor] = {}
        total = step.x_hat.new_zeros((), dtype=x.float().dtype)
        for kind, module in self.losses.items():
            loss: Loss = module
            terms[kind] = loss(step, x)
            total = total + self.weights[kind] * terms[kind]
        return ObjectiveOutput(total, {kind: term.detach() for kind, term in terms.items()})
