"""The bookkeeping of every metric of two sets of pictures in a feature space; the metric itself is a function.

The features are the state (8 KB a picture for pooled Inception): additive, mergeable in any order, and enough for
intervals. Letters: B pictures in a batch, N and M in the two sets, D features.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.features import InceptionFeatures
from eval.metrics.score import Score, check_pair
from eval.protocols import Domain, EvaluationProtocol
from eval.rows import Rows
from eval.weights import WeightsConfig, WeightsRecord

Output = Literal["pool", "spatial", "logits", "dinov2", "clip"]


class SetComparison:
    """Features of the real and the fake pictures seen, and the score of both.

    Args:
        protocol: its settings of features decide what pictures ``update`` takes.
        extract: pictures (B, 3, H, W) -> features (B, D) on the CPU.
        weights: the files that ``extract`` reads.
        score: features of the real set (N, D) and the fake one (M, D) -> the score.
        higher_is_better: the direction of improvement.
        needs_real: whether the score reads the real pictures at all.
        output: which features ``extract`` gives: Inception's (pool, spatial, logits), or those of another network.
        domain: the form of the pictures; the protocol's for FID, unless another is given.
        score_to_gaussian: mean and covariance of a reference, and features of the fake set -> the score; none
            where a metric needs the reference's pictures.
    """

    def __init__(
        self,
        protocol: EvaluationProtocol,
        extract: Callable[[Tensor], Tensor],
        weights: tuple[WeightsRecord, ...],
        score: Callable[[Tensor, Tensor], Score],
        *,
        higher_is_better: bool = False,
        needs_real: bool = True,
        output: Output = "pool",
        score_to_gaussian: Callable[[Tensor, Tensor, Tensor], Score] | None = None,
        domain: Domain | None = None,
    ) -> None:
        self.protocol = protocol
        self.extract = extract
        self.weights = weights
        self.score = score
        self.higher_is_better = higher_is_better
        self.needs_real = needs_real
        self.output: Output = output
        self.score_to_gaussian = score_to_gaussian
        self._domain: Domain = domain or protocol.fid.domain
        self._real = Rows()
        self._fake = Rows()

    @property
    def domain(self) -> Domain:
        """The form of the pictures that ``update`` takes."""
        return self._domain

    def update(self, real: Tensor, fake: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add pairs: pictures (B, 3, H, W) both, in the form of ``domain``."""
        check_pair(real, fake, self.domain)
        self.update_real(real, keys)
        self.update_fake(fake, keys)

    def update_real(self, pictures: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add reference pictures alone."""
        if self.needs_real:
            self._real.add(self.extract(pictures), keys)

    def update_fake(self, pictures: Tensor, keys: Sequence[int] | None = None) -> None:
        """Add made pictures alone."""
        self._fake.add(self.extract(pictures), keys)

    def merge(self, other: Self) -> None:
        """Add what ``other`` saw."""
        self._real.merge(other._real)
        self._fake.merge(other._fake)

    def refer_to(self, mean: Tensor, covariance: Tensor) -> None:
        """Take the statistics of a reference (D,), (D, D) in place of real pictures.

        Raises:
            ValueError: if this metric needs the pictures themselves.
        """
        if self.score_to_gaussian is None:
            raise ValueError("this metric needs the pictures of the reference, not their statistics")
        score = self.score_to_gaussian
        self.score = lambda _, fake: score(mean, covariance, fake)
        self.needs_real = False

    def compute(self) -> Score:
        """The score of everything seen so far.

        Raises:
            NotComputedError: with fewer than two pictures on a side nothing can be said of a distribution.
        """
        fewest = min(len(self._real), len(self._fake)) if self.needs_real else len(self._fake)
        if fewest < 2:
            raise NotComputedError("at least 2 pictures on each side", "give more pictures")
        real = self._real.table() if self.needs_real else torch.empty(0)
        return self.score(real, self._fake.table())


def load_comparison(
    protocol: EvaluationProtocol,
    weights: WeightsConfig,
    device: torch.device,
    score: Callable[[Tensor, Tensor], Score],
    *,
    output: Output = "pool",
    higher_is_better: bool = False,
    needs_real: bool = True,
    score_to_gaussian: Callable[[Tensor, Tensor, Tensor], Score] | None = None,
) -> SetComparison:
    """A comparison in the features of the FID Inception network.

    Raises:
        NotComputedError: if its weights are not on this machine.
    """
    network = InceptionFeatures.load(weights, device, protocol.fid.resize)

    def extract(pictures: Tensor) -> Tensor:
        features: Tensor = getattr(network.outputs(pictures), output)
        return features

    return SetComparison(
        protocol,
        extract,
        (network.record,),
        score,
        higher_is_better=higher_is_better,
        needs_real=needs_real,
        output=output,
        score_to_gaussian=score_to_gaussian,
    )


def around(value: float, spread: float, *, at_least: float = -torch.inf) -> tuple[float, float]:
    """The interval value +- 1.96 standard deviations, not below ``at_least``."""
    return max(at_least, value - 1.96 * spread), value + 1.96 * spread
