"""How decided the choice among the codes of a codebook is, and how evenly all of them are chosen.

Letters: N features, K codes, C channels.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tokenizer.core import distributed
from tokenizer.layers.entropy import CodeEntropies

# Scores held at once, a block of features by all codes: 256 MiB of float32.
BLOCK = 2**26


def assignment_entropies(
    rows: Tensor,
    codes: Tensor,
    *,
    temperature: float,
    bias: Tensor | None = None,
    over_processes: bool = False,
    block: int = BLOCK,
) -> CodeEntropies:
    """Entropies in nats of p = softmax((rows codes^T + bias) / temperature): E[H(p)] and H(E[p]), with gradient.

    Features go in blocks, computed again in the backward pass, so that memory is a block of scores, not N x K.

    Args:
        rows: (N, C) float32.
        codes: (K, C) float32.
        temperature: of the softmax.
        bias: (K,) added to every feature's scores; minus half the codes' squared norms makes nearest codes likely.
        over_processes: take the mean distribution over all processes; a collective, so all must ask for it.
        block: scores held at once.

    Source: Yu et al. 2023, Language Model Beats Diffusion: Tokenizer is Key to Visual Generation, arXiv 2310.05737
    (the entropy penalty), for a codebook that is a table.
    """
    shift = codes.new_zeros(len(codes)) if bias is None else bias
    parts = []
    for part in torch.split(rows, max(1, block // len(codes))):
        if torch.is_grad_enabled():
            parts.append(checkpoint(_sums, part, codes, shift, temperature, use_reentrant=False))
        else:
            parts.append(_sums(part, codes, shift, temperature))
    sample = torch.stack([part[0] for part in parts]).sum() / len(rows)
    mean = torch.stack([part[1] for part in parts]).sum(dim=0) / len(rows)
    if over_processes:
        mean = distributed.mean(mean)
    return CodeEntropies(sample, torch.special.entr(mean.clamp_min(1e-12)).sum())


def _sums(rows: Tensor, codes: Tensor, bias: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Sum over a block's features of the entropy of their distribution, a scalar, and of the distribution (K,)."""
    log_p = ((rows @ codes.T + bias) / temperature).log_softmax(dim=1)
    p = log_p.exp()
    return -(p * log_p).sum(), p.sum(dim=0)
