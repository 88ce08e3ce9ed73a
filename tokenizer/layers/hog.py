"""Histograms of oriented gradients: what a patch looks like, without a network.

Letters: B batch, C colours, H W sides, O orientations, S cell side, P patch side.
"""

import math

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F


def hog(x: Tensor, patch: int, *, cell: int = 8, orientations: int = 9) -> Tensor:
    """Pixels x (B, C, H, W), sides multiples of the patch -> (B, H W / P^2, C O (P / S)^2) float32.

    Gradients vote with their length for one of O unsigned directions of half a turn; each cell's histogram is brought
    to unit length, or stays 0 where a cell is flat. Patches are rows first.

    Source: Dalal and Triggs 2005, Histograms of Oriented Gradients for Human Detection; Wei et al. 2022, Masked Feature
    Prediction for Self-Supervised Visual Pre-Training (MaskFeat), arXiv 2112.09133, section 3 (colours apart, 9
    orientations, cells of 8 pixels, unit length).

    Raises:
        ValueError: if cells do not fill a patch.
    """
    if patch % cell:
        raise ValueError(f"patch {patch} must be a multiple of the cell, {cell}")
    padded = F.pad(x.float(), (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    length = torch.hypot(across, down)
    angle = torch.atan2(down, across) / math.pi % 1.0  # half turns
    index = (angle * orientations).long().clamp_max(orientations - 1)
    votes = torch.zeros(*x.shape[:2], orientations, *x.shape[2:], device=x.device)
    votes.scatter_(2, index.unsqueeze(2), length.unsqueeze(2))
    cells = F.avg_pool2d(votes.flatten(1, 2), cell)  # (B, C O, H/S, W/S)
    cells = rearrange(cells, "b (c o) h w -> b c o h w", o=orientations)
    cells = F.normalize(cells, dim=2).flatten(1, 2)
    side = patch // cell
    out: Tensor = rearrange(cells, "b c (h i) (w j) -> b (h w) (c i j)", i=side, j=side)
    return out


def hog_channels(patch: int, *, colours: int = 3, cell: int = 8, orientations: int = 9) -> int:
    """Channels that ``hog`` gives a patch."""
    return colours * orientations * (patch // cell) ** 2
