"""Random frames that tests of video metrics share."""

import torch
from torch import Tensor


def frames(count: int, seed: int = 0, side: int = 16) -> Tensor:
    """uint8 (T, 3, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(40, 216, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def disturbed(real: Tensor, levels: Tensor, seed: int = 9) -> Tensor:
    """Each frame disturbed by its own level."""
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(seed)) * levels.view(-1, 1, 1, 1)
    return (real.float() + noise).round().clamp(0, 255).to(torch.uint8)
