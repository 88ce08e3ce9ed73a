"""A latent or its indices as a picture, one pixel a latent position, with numpy alone.

Letters: C latent channels, h w latent positions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tokenizer.spec import scale_grids

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.codecs import Pixels
    from service.wire import Array, Indices
    from tokenizer.spec import PartSpec

# How many standard deviations span the range from black to white.
SPREAD = 2.5


def principal_colours(z: Array) -> Pixels:
    """z (C, ...) -> uint8 (h, w, 3): the three principal components over positions as red, green, blue.

    Signs are fixed so that equal latents give equal pictures; missing components (C < 3) stay grey.
    """
    rows = _grid(z)  # C h w
    flat = rows.reshape(rows.shape[0], -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    variances, directions = np.linalg.eigh(flat @ flat.T / flat.shape[1])  # ascending
    picture = np.full((3, flat.shape[1]), 0.5)
    for colour in range(min(3, flat.shape[0])):
        direction = directions[:, -1 - colour]
        direction = direction * np.sign(direction[np.argmax(np.abs(direction))])
        deviation = math.sqrt(max(float(variances[-1 - colour]), 0.0))
        if deviation > 0:
            picture[colour] = 0.5 + direction @ flat / (2 * SPREAD * deviation)
    return _bytes(picture.reshape(3, *rows.shape[1:]).transpose(1, 2, 0))


def channel_grid(z: Array) -> Pixels:
    """z (C, ...) -> uint8 grey: every channel a small picture, strongest first, a white line between."""
    rows = _grid(z)
    count, height, width = rows.shape
    columns = math.ceil(math.sqrt(count))
    lines = math.ceil(count / columns)
    sheet = np.full((lines * (height + 1) - 1, columns * (width + 1) - 1), 255, np.uint8)
    order = np.argsort(-rows.reshape(count, -1).var(axis=1, dtype=np.float64), kind="stable")
    for place, channel in enumerate(order):
        top, left = place // columns * (height + 1), place % columns * (width + 1)
        sheet[top : top + height, left : left + width] = _bytes(0.5 + rows[channel] / (2 * SPREAD))
    return sheet


def index_maps(indices: Indices, part: PartSpec, size: tuple[int, ...]) -> Pixels:
    """Indices of one sample -> uint8 (h, w, 3): every code a colour of its own, the same in all pictures.

    Several codebooks or scales are maps side by side, a white line between them, in the order in which they are sent.
    """
    if part.scales is not None:
        grids = scale_grids(part.scales, part.shape(size)[1:])
        cuts = np.cumsum([math.prod(grid) for grid in grids])[:-1]
        maps = [run.reshape(grid) for run, grid in zip(np.split(indices, cuts), grids, strict=True)]
    else:
        maps = list(indices) if part.num_codebooks > 1 else [indices]
        maps = [codes.reshape(-1, codes.shape[-1]) for codes in maps]
    height = max(codes.shape[0] for codes in maps)
    width = sum(codes.shape[1] + 1 for codes in maps) - 1
    sheet = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for codes in maps:
        sheet[: codes.shape[0], left : left + codes.shape[1]] = _code_colours(codes)
        left += codes.shape[1] + 1
    return sheet


def _code_colours(codes: Indices) -> Pixels:
    """uint8 (h, w, 3); neighbouring codes are far apart, as a codebook has no order that the eye could follow.

    Source: the finalizer of MurmurHash3 (Appleby 2011, public domain), a bijection of 32 bits.
    """
    mixed = (codes.astype(np.uint64) + np.uint64(1)) & np.uint64(0xFFFFFFFF)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor) & np.uint64(0xFFFFFFFF)
    channels = [(mixed >> np.uint64(8 * place)) & np.uint64(255) for place in range(3)]
    colours: Pixels = np.stack(channels, axis=-1).astype(np.uint8)
    return colours


PICTURES: dict[str, Callable[[Array], Pixels]] = {"rgb": principal_colours, "channels": channel_grid}


def _grid(z: Array) -> Array:
    """(C, N) -> (C, 1, N), (C, T, h, w) -> (C, T h, w), (C, h, w) as it is."""
    if z.ndim == 2:
        return z[:, None]
    return z.reshape(z.shape[0], -1, z.shape[-1])


def _bytes(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | Array) -> Pixels:
    picture: Pixels = np.clip(np.round(values * 255), 0, 255).astype(np.uint8)
    return picture
