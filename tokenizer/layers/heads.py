"""What predicts a frozen encoder's features from ours, and how tokens and patches are brought together.

Letters: B batch, C channels, N tokens, H' W' a grid of patches, L = H' W'.
"""

import torch
from torch import Tensor, nn

from tokenizer.layers.transformer import Grid


def mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    """Three linear maps with SiLUs between them.

    Source: Yu et al. 2024, Representation Alignment for Generation (REPA), arXiv 2410.06940, section 3.2.
    """
    return nn.Sequential(
        nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, out)
    )


def grid_of(count: int, size: tuple[int, ...]) -> Grid:
    """Rows and columns of ``count`` patches of a picture with sides ``size``.

    Raises:
        ValueError: if no grid has so many in about the picture's proportions.
    """
    height, width = size[-2:]
    rows = max(1, round((count * height / width) ** 0.5))
    if count % rows:
        raise ValueError(f"{count} tokens are no grid over a picture of {height}x{width}: take another layer")
    return rows, count // rows


def spread(tokens: Tensor, count: int) -> Tensor:
    """tokens (B, N, C) -> (B, count, C): each repeated for its equal share of ``count`` places, in order."""
    places = torch.arange(count, device=tokens.device) * tokens.shape[1] // count
    return tokens[:, places]


def as_tokens(features: Tensor, size: tuple[int, ...]) -> tuple[Tensor, Grid]:
    """Features of patches, (B, L, C) or (B, C, H', W') -> (B, L, C) and their grid, for a picture of ``size``."""
    if features.ndim == 4:
        return features.flatten(2).transpose(1, 2), (features.shape[2], features.shape[3])
    return features, grid_of(features.shape[1], size)
