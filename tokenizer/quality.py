"""As few tokens as a quality takes: for tokenizers whose rows may have several numbers of tokens.

``latents = encode_to_quality(tokenizer, x, psnr=28.0)`` gives each picture its own number.

Letters: B pictures, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tokenizer.model import Tokenizer
from tokenizer.spec import Latent, PartSpec


@torch.no_grad()
def encode_to_quality(
    tokenizer: Tokenizer, x: Tensor, psnr: float, *, counts: Sequence[int] | None = None
) -> list[Latent]:
    """Each picture with the fewest tokens whose reconstruction has at least ``psnr`` dB; with the most where none has.

    Counts are tried from the fewest on, each on the pictures that are still short of the quality.

    Args:
        tokenizer: one whose latent is a row with several allowed numbers of tokens.
        x: (B, 3, H, W) in [-1, 1].
        psnr: of the pixels after rounding to bytes, in dB.
        counts: to choose from, rising; by default all that are allowed.

    Returns:
        B latents of one picture each.

    Raises:
        ValueError: if the latent's number of tokens is fixed, or a count is not allowed.

    Source: Duggal et al. 2024, Adaptive Length Image Tokenization via Recurrent Allocation, arXiv 2411.02393,
    section 4 (reconstruction below a threshold as the criterion).
    """
    chosen = list(counts if counts is not None else allowed(tokenizer.spec.z))
    if not chosen:
        raise ValueError("counts: there are none to choose from")
    found: dict[int, Latent] = {}
    left = list(range(len(x)))
    for count in chosen:
        latent = tokenizer.encode(x[left], num_tokens=count)
        scores = _psnr(tokenizer.decode(latent), x[left])
        last = count == chosen[-1]
        for row, index in enumerate(left):
            if last or scores[row] >= psnr:
                found[index] = take(latent, row)
        left = [index for index in left if index not in found]
        if not left:
            break
    return [found[index] for index in range(len(x))]


def allowed(part: PartSpec) -> range:
    """Every number of tokens of a part; ValueError where there is only one, or it is a grid."""
    counts = part.token_counts
    if len(counts) < 2:
        raise ValueError(f"part {part.name!r} always has {counts[0]} tokens: there is nothing to choose")
    return counts


def take(latent: Latent, row: int) -> Latent:
    """One picture of a batch's latent, as a batch of one."""
    return replace(
        latent,
        parts={name: value[row : row + 1] for name, value in latent.parts.items()},
        indices={name: value[row : row + 1] for name, value in latent.indices.items()},
    )


def _psnr(x_hat: Tensor, x: Tensor) -> Tensor:
    """dB of each picture, both rounded to bytes: (B,) float64."""
    one, two = (((value.double().clamp(-1, 1) + 1) * 127.5).round() / 255.0 for value in (x_hat, x))
    return -10.0 * (one - two).square().flatten(1).mean(dim=1).clamp_min(1e-10).log10()
