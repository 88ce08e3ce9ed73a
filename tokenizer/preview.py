"""A glance at a tokenizer in training: a few pictures, what it makes of them, and the PSNR."""

import torch
from torch import Tensor

from tokenizer.core.run import Precision, autocast
from tokenizer.data.transforms import to_uint8
from tokenizer.layers.frames import fold
from tokenizer.model import Autoencoder
from tokenizer.stats import StatsData, pictures


def psnr(x_hat: Tensor, x: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each picture, (B,), both about [-1, 1] and clamped."""
    error = (x_hat.detach().float().clamp(-1, 1) - x).square().flatten(1).mean(dim=1)
    return 10.0 * torch.log10(4.0 / error.clamp_min(1e-10))


@torch.no_grad()
def preview(
    model: Autoencoder, source: StatsData, device: torch.device, precision: Precision
) -> tuple[float, list[Tensor]]:
    """Mean PSNR in dB over ``source``, and its first batch above its reconstructions (uint8, on the CPU).

    Of clips about as many frames are shown as the batch has clips.
    """
    scores: list[Tensor] = []
    rows: list[Tensor] = []
    for x in pictures(source, str(device)):
        with autocast(device, precision):
            x_hat = model(x).x_hat
        scores.append(psnr(x_hat, x))
        if not rows:
            shown = x.shape[0] if x.ndim == 4 else -(-x.shape[0] // x.shape[2])
            rows = [fold(to_uint8(pixels[:shown])).cpu() for pixels in (x, x_hat)]
    return float(torch.cat(scores).mean()), rows
