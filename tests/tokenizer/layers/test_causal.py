"""Causal layers: frames see the past alone, pieces with a cache are the whole, callers do not meet."""

import random

import pytest
import torch
from torch import Tensor, nn

from tokenizer.layers.causal import (
    Cache,
    CausalConv3d,
    CausalHaar,
    CausalInverseHaar,
    CausalUpsample,
    ChunkConv3d,
    Scoped,
    name_caches,
)


def pieces(length: int, alone: bool, step: int, draw: random.Random) -> list[int]:
    """Random lengths that a layer of this step can be given, one after the other."""
    sizes = []
    if alone:
        sizes.append(1 + step * draw.randint(0, (length - 1) // step))
    while sum(sizes) < length:
        sizes.append(step * draw.randint(1, (length - sum(sizes)) // step))
    return sizes


def in_pieces(layer: nn.Module, x: Tensor, sizes: list[int]) -> Tensor:
    cache: Cache = {}
    return torch.cat([layer(piece, cache) for piece in x.split(sizes, dim=2)], dim=2)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(("frames", "step"), [(3, 1), (5, 1), (3, 2), (2, 2), (4, 4), (5, 2)])
def test_pieces_are_the_whole(frames: int, step: int, alone: bool) -> None:
    torch.manual_seed(0)
    layer = CausalConv3d(2, 3, (frames, 3, 3), (step, 1, 1), first_frame_alone=alone).double()
    network = nn.Sequential(layer)
    name_caches(network)
    length = 12 * step + alone
    x = torch.randn(2, 2, length, 5, 4, dtype=torch.float64)
    whole = layer(x)
    assert whole.shape == (2, 3, 12 + alone, 5, 4)
    draw = random.Random(frames * step)
    for _ in range(5):
        sizes = pieces(length, alone, step, draw)
        torch.testing.assert_close(in_pieces(layer, x, sizes), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("alone", [True, False])
def test_upsampling_in_pieces_is_the_whole(alone: bool) -> None:
    network = nn.Sequential(CausalUpsample(3, first_frame_alone=alone))
    name_caches(network)
    x = torch.arange(5.0).view(1, 1, 5, 1, 1)
    whole = network[0](x).flatten()
    assert whole.tolist() == [float(t) for t in range(5) for _ in range(3)][2 * alone :]
    for sizes in ([1, 4], [2, 1, 2], [5], [1, 1, 1, 1, 1]):
        assert torch.equal(in_pieces(network[0], x, sizes).flatten(), whole)


def test_chunks_look_ahead_inside_and_back_across() -> None:
    layer = ChunkConv3d(2, 3, (5, 3, 3))
    network = nn.Sequential(layer)
    name_caches(network)
    x = torch.randn(1, 2, 8, 4, 4)
    out = in_pieces(layer, x, [4, 4])
    other = x.clone()
    other[:, :, 3] += 1.0
    changed = (in_pieces(layer, other, [4, 4]) != out).flatten(3).any(dim=3)[0].any(dim=0)
    assert changed.tolist() == [False, True, True, True, True, True, False, False]


def test_wavelets_in_pieces_are_the_whole_and_come_back() -> None:
    network = nn.Sequential(CausalHaar(), CausalInverseHaar())
    name_caches(network)
    x = torch.randn(2, 3, 7, 4, 6, dtype=torch.float64)
    bands = network[0](x)
    assert bands.shape == (2, 24, 4, 2, 3)
    assert not bands[:, 12:, 0].any()  # the first frame and its copy do not differ
    torch.testing.assert_close(in_pieces(network[0], x, [3, 2, 2]), bands, rtol=0, atol=1e-12)
    torch.testing.assert_close(in_pieces(network[1], bands, [1, 2, 1]), x, rtol=0, atol=1e-12)


def test_a_frame_changes_nothing_before_it() -> None:
    layer = CausalConv3d(2, 3)
    x = torch.randn(1, 2, 6, 4, 4)
    other = x.clone()
    other[:, :, 4] += 1.0
    before, after = layer(x), layer(other)
    assert torch.equal(before[:, :, :4], after[:, :, :4])
    assert not torch.equal(before[:, :, 4], after[:, :, 4])


def test_the_first_frame_stands_where_there_is_no_past() -> None:
    layer = CausalConv3d(2, 3)
    x = torch.randn(1, 2, 1, 4, 4)
    still = x.expand(-1, -1, 4, -1, -1)
    out = layer(still)
    torch.testing.assert_close(out, layer(x).expand_as(out))


def test_two_clips_and_two_layers_share_nothing() -> None:
    network = nn.Sequential(CausalConv3d(2, 2), CausalConv3d(2, 2))
    name_caches(network)
    one, other = (torch.randn(1, 2, 4, 3, 3) for _ in range(2))

    def walk(x: Tensor, cache: Cache) -> Tensor:
        for layer in network:
            x = layer(x, cache)
        return x

    caches: tuple[Cache, Cache] = ({}, {})
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for frame in range(4):
        for clip, cache, seen in zip((one, other), caches, found, strict=True):
            seen.append(walk(clip[:, :, frame : frame + 1], cache))
    assert set(caches[0]) == {"0", "1"}
    for clip, seen in zip((one, other), found, strict=True):
        torch.testing.assert_close(torch.cat(seen, dim=2), walk(clip, {}))


def test_a_layer_without_a_name_refuses_a_cache() -> None:
    with pytest.raises(RuntimeError, match="name_caches"):
        CausalConv3d(2, 2)(torch.randn(1, 2, 3, 4, 4), {})


def test_strides_longer_than_the_kernel_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot walk"):
        CausalConv3d(2, 2, (1, 3, 3), (2, 1, 1))


def test_a_part_of_a_cache_is_seen_without_its_prefix() -> None:
    cache: Cache = {"a/x": torch.ones(1), "b/x": torch.zeros(1)}
    part = Scoped(cache, "a/")
    part["y"] = torch.ones(2)
    assert dict(part).keys() == {"x", "y"}
    assert len(part) == 2
    del part["x"]
    assert set(cache) == {"a/y", "b/x"}
