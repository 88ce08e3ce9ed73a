"""Long clips in bounded memory: pieces in, latents out, and the other way round.

What comes out, joined, is what one pass over the whole clip gives, for every causal and chunk-causal family and for
global ones, whose clips are short by themselves.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from tokenizer.clips import finish
from tokenizer.layers.causal import Cache
from tokenizer.model import Tokenizer
from tokenizer.spec import Latent
from tokenizer.tiling import TilePlan

Item = TypeVar("Item")


def encode_stream(
    tokenizer: Tokenizer,
    pieces: Iterable[Tensor],
    *,
    sample: bool = False,
    generator: torch.Generator | None = None,
    tiles: TilePlan | None = None,
) -> Iterator[Latent]:
    """Pieces of one clip, each (B, 3, T, H, W) in [-1, 1], T >= 1 -> latents that follow one another.

    A piece more than what is being encoded is read ahead, to know the last one.

    Raises:
        ValueError: if there are no frames, or the tokenizer takes pictures alone.
    """
    cache: Cache = {}
    for piece, last in _with_last(pieces, "there are no frames to encode"):
        if last:
            finish(cache)
        latent = tokenizer.encode(piece, sample=sample, generator=generator, tiles=tiles, cache=cache)
        if latent.size[0]:
            yield latent


def decode_stream(
    tokenizer: Tokenizer,
    latents: Iterable[Latent],
    *,
    generator: torch.Generator | None = None,
    num_steps: int | None = None,
    tiles: TilePlan | None = None,
) -> Iterator[Tensor]:
    """Latents of one clip in order -> pieces x_hat (B, 3, T, H, W), about [-1, 1], T >= 1.

    Raises:
        ValueError: if there are none, or the tokenizer makes pictures alone.
    """
    cache: Cache = {}
    for latent, last in _with_last(latents, "there are no latents to decode"):
        if last:
            finish(cache)
        x_hat = tokenizer.decode(latent, generator=generator, num_steps=num_steps, tiles=tiles, cache=cache)
        if x_hat.shape[2]:
            yield x_hat


def _with_last(items: Iterable[Item], nothing: str) -> Iterator[tuple[Item, bool]]:
    """Each item, and whether it is the last."""
    walk = iter(items)
    try:
        item = next(walk)
    except StopIteration:
        raise ValueError(nothing) from None
    for following in walk:
        yield item, False
        item = following
    yield item, True
