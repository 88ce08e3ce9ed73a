"""What a latent is worth when only its first channels, or the first of its row of tokens, arrive.

Source: Chen et al. 2025, DC-AE 1.5: Accelerating Diffusion Model Convergence with Structured Latent Space, arXiv
2508.00413 (the first channels carry the object, the rest its details).

Letters: B pictures, C latent channels, R resolution.
"""

import math

import torch
from torch import Tensor

from eval.errors import NotComputedError
from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from tokenizer.model import Tokenizer
from tokenizer.spec import Latent


class PrefixPSNR:
    """Mean PSNR of reconstructions from the first ``ceil(share * C)`` channels, or from as many tokens of a row.

    The channels that did not arrive are 0 in the tokenizer's own scale (what training with dropped channels
    shows a decoder), or their mean over the data (the best guess for one that never saw a channel dropped);
    whichever gives the higher PSNR over the whole set counts.

    Args:
        share: of the channels or tokens that arrive.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._mse: dict[str, list[float]] = {"zero": [], "mean": []}

    @torch.inference_mode()
    def update(self, tokenizer: Tokenizer, real: Tensor, latent: Latent) -> None:
        """Add uint8 pictures (B, 3, R, R) and their latent.

        Raises:
            NotComputedError: if the latent is a discrete grid, has several parts or too few channels, or is a row of
                which no shorter one decodes.
        """
        if len(tokenizer.spec.parts) == 1 and tokenizer.spec.z.layout == "1d":
            self._row(tokenizer, real, latent)
            return
        keep = self._channels(tokenizer)
        z = latent.z
        zero = tokenizer.spec.normalize(torch.zeros_like(z[:, :, :1, :1]).expand_as(z))
        for name, fill in (("zero", zero), ("mean", torch.zeros_like(z))):
            kept = torch.cat([z[:, :keep], fill[:, keep:]], dim=1)
            x_hat = tokenizer.decode(Latent({tokenizer.spec.z.name: kept}, latent.size, latent.spec_id))
            self._mse[name] += mean_squared_error(real.cpu(), to_uint8(x_hat).cpu()).tolist()

    def compute(self) -> tuple[float]:
        """(PSNR in dB,); ValueError if no picture was given."""
        if not self._mse["zero"]:
            raise ValueError("no pictures were given")
        psnr = [
            float(decibels(torch.tensor(mse, dtype=torch.float64).clamp_min(1e-10)).mean())
            for mse in self._mse.values()
        ]
        return (max(psnr),)

    def _row(self, tokenizer: Tokenizer, real: Tensor, latent: Latent) -> None:
        part = tokenizer.spec.z
        high = part.token_range[1]
        keep = math.ceil(high * self.share - 1e-9)
        if keep == high or keep not in part.token_counts:
            raise NotComputedError(
                f"a row that decodes with {keep} of its {high} tokens", "this one does not"
            )
        device = next(iter(latent.parts.values())).device
        x = from_uint8(real).to(
            device
        )  # encoded anew: where tokens are allocated, few are not the first of many
        x_hat = tokenizer.decode(tokenizer.encode(x, num_tokens=keep))
        error = mean_squared_error(real.cpu(), to_uint8(x_hat).cpu()).tolist()
        for found in self._mse.values():
            found += error

    def _channels(self, tokenizer: Tokenizer) -> int:
        parts = tokenizer.spec.parts
        if len(parts) != 1 or parts[0].codebook_size is not None:
            raise NotComputedError("a continuous latent in one part", "codes are not sent channel by channel")
        channels = parts[0].channels
        keep = math.ceil(channels * self.share - 1e-9)
        if keep >= channels:
            raise NotComputedError(f"more than {channels} channels", "all of them are the first ones")
        return keep
