"""What a continuous latent costs: the fewest bits a value that leave the picture as good as it was.

Values are clamped to the range that their channel has on some pictures and rounded to 2^depth levels, evenly spread
over it, both ends included. The range is told once for all pictures, as the mean and deviation are.

Letters: B pictures, C latent channels, S the latent's grid, R resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import to_uint8
from tokenizer.model import Tokenizer
from tokenizer.spec import Latent

MAX_DEPTH = 16
TOLERANCE = 0.1
MAX_CHOOSERS = 64


@dataclass(frozen=True, slots=True)
class LatentCode:
    """How a continuous part ``z`` is sent.

    Attributes:
        depth: bits a value, 1 to 16.
        low, high: (C,) float32, the range of each channel, normalised.
    """

    depth: int
    low: Tensor
    high: Tensor

    def rounded(self, latent: Latent) -> Latent:
        """The latent as it arrives."""
        z = latent.z
        low, high = (limit.to(z).view(1, -1, *(1,) * (z.ndim - 2)) for limit in (self.low, self.high))
        step = ((high - low) / (2**self.depth - 1)).clamp_min(torch.finfo(torch.float32).tiny)
        levels = ((z.clamp(low, high) - low) / step).round()
        (name,) = latent.parts
        return replace(latent, parts={name: low + levels * step})


@torch.inference_mode()
def choose(tokenizer: Tokenizer, real: Sequence[Tensor], latents: Sequence[Latent]) -> LatentCode:
    """The code of fewest bits whose mean PSNR is within 0.1 dB of that of the latents as they are.

    Args:
        tokenizer: decodes.
        real: uint8 (B, 3, R, R) each.
        latents: of these pictures; the first 64 pictures or so decide.
    """
    count = 0
    pairs: list[tuple[Tensor, Latent]] = []
    for pictures, latent in zip(real, latents, strict=True):
        if count < MAX_CHOOSERS:
            pairs.append((pictures, latent))
            count += len(pictures)
    values = torch.cat([latent.z.float().transpose(0, 1).flatten(1) for _, latent in pairs], dim=1)
    code = LatentCode(MAX_DEPTH, values.amin(dim=1), values.amax(dim=1))
    target = _psnr(tokenizer, pairs, None) - TOLERANCE
    low, high = 1, MAX_DEPTH
    while low < high:  # more bits are never worse, up to rounding of pixels
        middle = (low + high) // 2
        good = _psnr(tokenizer, pairs, replace(code, depth=middle)) >= target
        low, high = (low, middle) if good else (middle + 1, high)
    return replace(code, depth=high)


def _psnr(tokenizer: Tokenizer, pairs: Sequence[tuple[Tensor, Latent]], code: LatentCode | None) -> float:
    found = []
    for pictures, latent in pairs:
        sent = latent if code is None else code.rounded(latent)
        fake = to_uint8(tokenizer.decode(sent)).cpu()
        found.append(decibels(mean_squared_error(pictures.cpu(), fake)))
    return float(torch.cat(found).mean())
