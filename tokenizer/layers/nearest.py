"""The nearest of many vectors, in bounded memory.

Letters: N queries, K vectors, C channels.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

# Scores held at once: 256 MiB of float32.
BLOCK = 2**26


@torch.no_grad()
def nearest(queries: Tensor, vectors: Tensor, *, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """The index of each query's nearest vector in Euclidean distance, and how near it is.

    Of equally near vectors the first is taken. Among vectors of one length it is also the nearest in angle.

    Args:
        queries: (N, C).
        vectors: (K, C).
        block: scores (N' x K) computed at once.

    Returns:
        Indices (N,) int64, and scores (N,) float32 that are larger the nearer the vector is; for one query they
        compare across sets of vectors.
    """
    found: list[Tensor] = []
    best: list[Tensor] = []
    for scores in blocks_of_scores(queries, vectors, block=block):
        value, index = scores.max(dim=1)
        found.append(index)
        best.append(value)
    return torch.cat(found), torch.cat(best)


def blocks_of_scores(queries: Tensor, vectors: Tensor, *, block: int = BLOCK) -> Iterator[Tensor]:
    """Half the negative squared distance, (N', K) float32 for block after block of queries, exact to rounding."""
    queries, vectors = queries.float(), vectors.float()
    # About their middle, distances are sums of small numbers: an offset that all vectors share costs no digits.
    middle = vectors.mean(dim=0)
    vectors = vectors - middle
    bias = vectors.square().sum(dim=1).mul(-0.5)
    for rows in torch.split(queries, max(1, block // len(vectors))):
        rows = rows - middle
        yield torch.addmm(bias, rows, vectors.T) - 0.5 * rows.square().sum(dim=1, keepdim=True)
