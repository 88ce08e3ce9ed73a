"""Floating-point operations of encoding and decoding one picture."""

from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tokenizer.model import Tokenizer
from tokenizer.spec import Size


@dataclass(frozen=True, slots=True)
class Flops:
    """Operations for one picture: convolutions, matrix products and attention; a multiplication and an addition
    are two.
    """

    encode: int
    decode: int

    @property
    def both(self) -> int:
        """Encoding and decoding."""
        return self.encode + self.decode


@torch.no_grad()  # not inference_mode: it hides composite operations from the counter
def count(tokenizer: Tokenizer, size: Size, device: torch.device) -> Flops:
    """Counts while one grey picture of ``size`` runs through a tokenizer that takes float32, on its device."""
    x = torch.zeros(1, 3, *size, device=device)
    with sdpa_kernel(SDPBackend.MATH):  # attention as products that are counted on every device
        with FlopCounterMode(display=False) as encoding:
            latent = tokenizer.encode(x)
        with FlopCounterMode(display=False) as decoding:
            tokenizer.decode(latent)
    return Flops(encoding.get_total_flops(), decoding.get_total_flops())
