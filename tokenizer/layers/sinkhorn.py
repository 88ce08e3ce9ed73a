"""Optimal transport between features and weighted codes, smoothed by entropy.

Letters: N features of this process, K codes, C channels.
"""

import math

import torch
from torch import Tensor

from tokenizer.core import distributed


@torch.no_grad()
def solve(
    cost: Tensor, log_weights: Tensor, epsilon: float | Tensor, potential: Tensor, rounds: int
) -> Tensor:
    """The codes' potential of the transport from all processes' features to codes, by Sinkhorn's iteration.

    Args:
        cost: (N, K) of this process's features; every feature weighs the same.
        log_weights: (K,) logarithms of the codes' weights, which sum to one.
        epsilon: strength of the entropy, in the units of the cost.
        potential: (K,) to start from.
        rounds: iterations; each sums over processes once.

    Returns:
        (K,) potential phi: with it each feature's row of the plan is softmax(log_weights + (phi - cost) / epsilon)
        / N, and once it has converged the plan's columns sum to the weights.

    Source: Cuturi 2013, Sinkhorn Distances, arXiv 1306.0895, algorithm 1, here in logarithms.
    """
    rows = math.log(distributed.num_rows(cost))
    for _ in range(rounds):
        # Columns of the plan as this potential makes them, against the weights that they should have.
        plan = (log_weights + (potential - cost) / epsilon).log_softmax(dim=1)
        columns = log_sum_over_processes(plan.logsumexp(dim=0)) - rows
        potential = potential + epsilon * (log_weights - columns)
        potential = potential - potential.mean()  # it is known up to a constant
    return potential


def dual(cost: Tensor, log_weights: Tensor, epsilon: float | Tensor, potential: Tensor) -> Tensor:
    """The transport's cost seen from a potential of the codes: scalar, a lower bound, equal at the solution.

    mean_i [-epsilon log sum_k w_k exp((phi_k - c_ik) / epsilon)] + sum_k w_k phi_k. At the solution its gradient
    to the cost is the plan, with the potential held fixed.

    Source: Vuong et al. 2023, Vector Quantized Wasserstein Auto-Encoder, arXiv 2302.05917 (the entropic
    dual form).
    """
    per_feature = -epsilon * torch.logsumexp(log_weights + (potential - cost) / epsilon, dim=1)
    return per_feature.mean() + (log_weights.exp() * potential).sum()


def log_sum_over_processes(x: Tensor) -> Tensor:
    """log of the sum over processes of exp(x), entry by entry."""
    return distributed.stack(x).logsumexp(dim=0)
