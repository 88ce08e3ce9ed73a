"""Inception score: how sure the classifier is of each picture, and how varied it is over all.

Three conventions give three numbers: torch-fidelity shuffles by a seed and takes ten splits, ADM takes splits of
5000 in the order of generation, TiTok one split; the protocol says which. The classifier's bias is left out, as in
all of them.

Source: Salimans et al. 2016, Improved Techniques for Training GANs, arXiv 1606.03498, section 4.

Letters: N pictures, K classes.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from eval.metrics.score import Score
from eval.metrics.sets import SetComparison, around, load_comparison
from eval.protocols import EvaluationProtocol
from eval.weights import WeightsConfig


def inception_score(
    logits: Tensor, *, splits: int = 10, split_size: int | None = None, shuffle_seed: int | None = None
) -> list[float]:
    """The score of each split of logits (N, K); a last split may be shorter where ``split_size`` is given."""
    count = len(logits)
    if shuffle_seed is not None:
        logits = logits[torch.from_numpy(np.random.RandomState(shuffle_seed).permutation(count))]
    edges = (
        [count * index // splits for index in range(splits + 1)]
        if split_size is None
        else [*range(0, count, split_size), count]
    )
    return [
        _score_of(logits[first:last]) for first, last in zip(edges, edges[1:], strict=False) if last > first
    ]


def _score_of(logits: Tensor) -> float:
    """exp of the mean over pictures of KL(p(y|x) || p(y))."""
    certainty, marginal = _certainty(logits)
    mean = marginal.mean(dim=0)
    return float((certainty.mean() - torch.special.xlogy(mean, mean).sum()).exp())


def _certainty(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(sum of p log p of each picture (N,), p (N, K)), float64."""
    log_p = logits.double().log_softmax(dim=1)
    p = log_p.exp()
    return (p * log_p).sum(dim=1), p


def inception_score_score(protocol: EvaluationProtocol, real: Tensor, fake: Tensor) -> Score:
    """The mean over splits; ``real`` is not read. The interval is a bootstrap of the whole set as one split."""
    settings = protocol.inception_score
    scores = inception_score(
        fake,
        splits=settings.splits,
        split_size=settings.split_size,
        shuffle_seed=settings.shuffle_seed,
    )
    value = float(np.mean(scores))
    details: dict[str, float | int | str] = {
        "splits": len(scores),
        "std_of_splits": float(np.std(scores)),
        "interval": "value +- 1.96 std of a bootstrap",
    }
    return Score(value, around(value, _bootstrap_std(protocol, fake), at_least=0.0), len(fake), details)


def _bootstrap_std(protocol: EvaluationProtocol, logits: Tensor) -> float:
    certainty, p = _certainty(logits)
    generator = torch.Generator().manual_seed(protocol.interval.seed)
    count = len(logits)
    scores = []
    for _ in range(protocol.interval.fid_resamples):
        drawn = torch.randint(count, (count,), generator=generator)
        share = torch.bincount(drawn, minlength=count).double() / count
        mean = share @ p
        scores.append(float((share @ certainty - torch.special.xlogy(mean, mean).sum()).exp()))
    return float(np.std(scores, ddof=1))


def load_inception_score(
    protocol: EvaluationProtocol, weights: WeightsConfig, device: torch.device
) -> SetComparison:
    """The score over the FID Inception network's classifier of 1008 outputs.

    Raises:
        NotComputedError: if its weights are not on this machine.
    """
    return load_comparison(
        protocol,
        weights,
        device,
        partial(inception_score_score, protocol),
        output="logits",
        higher_is_better=True,
        needs_real=False,
    )
