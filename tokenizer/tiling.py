"""Tiles: a picture larger than memory goes through any encoder or decoder piece by piece.

The plan is an argument of each call, never state on a module. Tiles share a width; the last one is shifted
back so that it never lacks context, and overlapping results are blended linearly. Encoders blend latents,
decoders pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tokenizer.layers.causal import Cache, Scoped

Remembers = Callable[[Tensor, Cache | None], Tensor]


@dataclass(frozen=True, slots=True)
class TilePlan:
    """How to cut a picture.

    Attributes:
        tile: side of a square tile in pixels; rounded up to the tokenizer's factor.
        overlap: pixels that neighbours share; rounded up to the factor.
    """

    tile: int = 512
    overlap: int = 128

    def __post_init__(self) -> None:
        if self.tile < 1 or not 0 <= self.overlap < self.tile:
            raise ValueError(f"tiles need 0 <= overlap < tile, got tile={self.tile} overlap={self.overlap}")

    def in_latents(self, factor: int) -> tuple[int, int]:
        """(tile, overlap) in latent positions for a spatial factor; the tile exceeds the overlap."""
        overlap = -(-self.overlap // factor)
        return max(-(-self.tile // factor), overlap + 1), overlap


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """First positions of tiles of ``tile`` that cover ``length``; the last one is shifted back to fit."""
    if length <= tile:
        return [0]
    step = tile - overlap
    firsts = list(range(0, length - tile, step))
    return [*firsts, length - tile]


def tiled_encode(encoder: Callable[[Tensor], Tensor], x: Tensor, plan: TilePlan, *, factor: int) -> Tensor:
    """x (B, 3, ..., H, W), sides multiples of ``factor`` -> h, tile by tile, blended in latent space."""
    return _tiled(lambda piece, _: encoder(piece), x, plan, factor, unit_in=factor, unit_out=1)


def tiled_decode(decoder: Callable[[Tensor], Tensor], z: Tensor, plan: TilePlan, *, factor: int) -> Tensor:
    """z (B, C, ..., H', W') -> x_hat, tile by tile, blended in pixel space."""
    return _tiled(lambda piece, _: decoder(piece), z, plan, factor, unit_in=1, unit_out=factor)


def remembering_tiles(network: Remembers, plan: TilePlan, *, factor: int, encodes: bool) -> Remembers:
    """A network for clips that works tile by tile, each tile with its own part of the cache.

    ``encodes``: pixels go in and latents come out; otherwise the other way round.
    """
    units = (factor, 1) if encodes else (1, factor)

    def run(x: Tensor, cache: Cache | None) -> Tensor:
        def tile(piece: Tensor, place: str) -> Tensor:
            return network(piece, None if cache is None else Scoped(cache, f"{place}/"))

        return _tiled(tile, x, plan, factor, unit_in=units[0], unit_out=units[1])

    return run


def _tiled(
    network: Callable[[Tensor, str], Tensor],
    x: Tensor,
    plan: TilePlan,
    factor: int,
    *,
    unit_in: int,
    unit_out: int,
) -> Tensor:
    tile, overlap = plan.in_latents(factor)
    rows, columns = x.shape[-2] // unit_in, x.shape[-1] // unit_in
    out: Tensor | None = None
    weight: Tensor | None = None
    for top in starts(rows, tile, overlap):
        for left in starts(columns, tile, overlap):
            height, width = min(tile, rows), min(tile, columns)
            piece = network(
                x[..., top * unit_in : (top + height) * unit_in, left * unit_in : (left + width) * unit_in],
                f"{top},{left}",
            )
            piece = piece.to(torch.promote_types(piece.dtype, torch.float32))  # the blend adds up in no less
            ramp = torch.outer(
                _ramp(height * unit_out, overlap * unit_out, top > 0, top + height < rows),
                _ramp(width * unit_out, overlap * unit_out, left > 0, left + width < columns),
            ).to(piece)
            if out is None or weight is None:
                out = piece.new_zeros(*piece.shape[:-2], rows * unit_out, columns * unit_out)
                weight = piece.new_zeros(rows * unit_out, columns * unit_out)
            window = (
                slice(top * unit_out, (top + height) * unit_out),
                slice(left * unit_out, (left + width) * unit_out),
            )
            out[(..., *window)] += piece * ramp
            weight[window] += ramp
    assert out is not None  # starts() never gives an empty list
    assert weight is not None
    return (out / weight).to(x.dtype)


def _ramp(length: int, overlap: int, before: bool, after: bool) -> Tensor:
    """Weights of a tile along one axis: rising over the overlap where a neighbour shares it."""
    weights = torch.ones(length, dtype=torch.float64)
    overlap = min(overlap, length)
    rise = (torch.arange(overlap, dtype=torch.float64) + 0.5) / max(overlap, 1)
    if before:
        weights[:overlap] *= rise
    if after:
        weights[length - overlap :] *= rise.flip(0)
    return weights
