"""Gradients for values that have none: what a quantizer sends back to the features it rounded.

Letters: C channels.
"""

from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["straight_through", "rotation"]


def straight_through(h: Tensor, q: Tensor) -> Tensor:
    """The value of ``q``, exactly, with the gradient of ``h``; same shapes. Nothing flows into ``q``.

    Source: Bengio et al. 2013, Estimating or Propagating Gradients Through Stochastic Neurons, arXiv 1308.3432;
    van den Oord et al. 2017, Neural Discrete Representation Learning, arXiv 1711.00937, section 3.2.
    """
    return q.detach() + (h - h.detach())


def rotation(h: Tensor, q: Tensor, *, dim: int = -1) -> Tensor:
    """The value of ``q``, exactly, with the gradient of h -> (|q| / |h|) R h, where R turns h towards q.

    R and the ratio of lengths are constants: with unit vectors h' and q' and w = (h' + q') / |h' + q'|,
    R = I - 2 w w^T + 2 q' h'^T, so that a gradient g goes back as (|q| / |h|) R^T g. Where h is (almost) zero
    it has no direction, and g goes back as it came.

    Args:
        h: features (..., C, ...).
        q: codes of the same shape; nothing flows into them.
        dim: the axis of the channels.

    Source: Fifty et al. 2024, Restructuring Vector Quantization with the Rotation Trick, arXiv 2410.06424,
    section 4.2.
    """
    value = q.detach()
    start, end = h.detach().float(), value.float()
    length = start.norm(dim=dim, keepdim=True)
    unit_h = start / length.clamp_min(1e-6)
    unit_q = torch.nn.functional.normalize(end, dim=dim, eps=1e-6)
    w = torch.nn.functional.normalize(unit_h + unit_q, dim=dim, eps=1e-6)
    ratio = end.norm(dim=dim, keepdim=True) / length.clamp_min(1e-6)

    moving = h.float()
    along_w = (moving * w).sum(dim=dim, keepdim=True)
    along_h = (moving * unit_h).sum(dim=dim, keepdim=True)
    turned = ratio * (moving - 2.0 * w * along_w + 2.0 * unit_q * along_h)
    turned = torch.where(length > 1e-6, turned, moving)
    return value + (turned - turned.detach()).to(value.dtype)


def estimate(estimator: Estimator, h: Tensor, q: Tensor, *, dim: int = -1) -> Tensor:
    """The value of ``q`` with the gradient that ``estimator`` gives to ``h``."""
    return straight_through(h, q) if estimator == "straight_through" else rotation(h, q, dim=dim)
