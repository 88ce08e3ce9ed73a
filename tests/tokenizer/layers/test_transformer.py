"""Attention equals torch's, rotations see differences only, positions fit any grid."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.layers.transformer import (
    Attention,
    GELUFeedForward,
    LearnedPositions,
    RotaryPositions,
    SinCosPositions,
    SwiGLUFeedForward,
    Transformer,
    axial_angles,
    rotate,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_attention_equals_torchs() -> None:
    torch.manual_seed(0)
    ours = Attention(24, heads=3, bias=True).double().requires_grad_(False)
    theirs = nn.MultiheadAttention(24, 3, batch_first=True, dtype=torch.float64).requires_grad_(False)
    theirs.in_proj_weight.copy_(ours.qkv.weight)
    theirs.in_proj_bias.copy_(ours.qkv.bias)
    theirs.out_proj.weight.copy_(ours.proj.weight)
    theirs.out_proj.bias.copy_(ours.proj.bias)
    x = normal(2, 7, 24)
    assert torch.allclose(ours(x), theirs(x, x, x, need_weights=False)[0], atol=1e-12)


def test_scores_of_rotated_tokens_depend_on_the_offset_alone() -> None:
    """One query and one key, moved together over the grid: the same score at every place, another at every offset."""
    grid, channels = (5, 6), 8
    q, k = (normal(1, 1, 1, channels, seed=seed).expand(1, 1, 30, channels) for seed in (0, 1))
    angles = axial_angles(grid, channels).double()
    scores = rotate(q, angles)[0, 0].double() @ rotate(k, angles)[0, 0].double().T
    scores = scores.reshape(5, 6, 5, 6)
    assert torch.allclose(scores[:-1, :-2, :-1, :-2], scores[1:, 2:, 1:, 2:], atol=1e-5)
    offsets = scores[0, 0].flatten()
    assert len({round(float(value), 4) for value in offsets}) == 30


def test_rotation_in_closed_form() -> None:
    """Channel i and i + K/2 turn by index times frequency, rows in the first half of the pairs."""
    angles = axial_angles((3, 4), 8)
    assert angles[2 * 4 + 3].tolist() == pytest.approx([2.0, 0.02, 3.0, 0.03])  # row 2, column 3
    x = torch.zeros(1, 1, 12, 8)
    x[..., 0] = 1.0
    turned = rotate(x, angles)[0, 0, 2 * 4 + 3]
    assert turned.tolist() == pytest.approx([math.cos(2.0), 0, 0, 0, math.sin(2.0), 0, 0, 0], abs=1e-6)
    assert torch.equal(rotate(x, angles)[0, 0, 0], x[0, 0, 0])


def test_angles_of_one_axis_and_of_three() -> None:
    assert axial_angles((5,), 4)[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert axial_angles((2, 3, 4), 72).shape == (24, 36)
    with pytest.raises(ValueError, match="multiple of 6"):
        axial_angles((2, 3, 4), 64)


def test_rotation_keeps_the_dtype_and_the_length() -> None:
    x = normal(2, 2, 6, 8).to(torch.bfloat16)
    turned = rotate(x, axial_angles((2, 3), 8))
    assert turned.dtype == torch.bfloat16
    assert torch.allclose(turned.float().norm(dim=-1), x.float().norm(dim=-1), rtol=2e-2)


@pytest.mark.parametrize("positions", [SinCosPositions(12), LearnedPositions(12, side=4)])
def test_added_positions_tell_all_places_apart(positions: nn.Module) -> None:
    for grid in ((4, 4), (3, 7), (9, 2)):
        tokens, angles = positions(torch.zeros(1, grid[0] * grid[1], 12), grid)
        assert angles is None
        distances = torch.cdist(tokens[0], tokens[0]) + torch.eye(tokens.shape[1])
        assert float(distances.min().detach()) > 1e-4


def test_learned_positions_are_the_table_on_their_own_grid_and_its_picture_on_others() -> None:
    positions = LearnedPositions(4, side=3).requires_grad_(False)
    assert torch.equal(positions(torch.zeros(1, 9, 4), (3, 3))[0][0], positions.table)
    positions.table.copy_(torch.full((9, 4), 2.5))
    assert torch.allclose(positions(torch.zeros(1, 10, 4), (5, 2))[0], torch.tensor(2.5))
    ramp = torch.arange(3.0).repeat_interleave(3)[:, None].expand(9, 4)  # grows with the row
    positions.table.copy_(ramp)
    wide = positions(torch.zeros(1, 18, 4), (3, 6))[0].reshape(3, 6, 4)
    assert torch.allclose(wide, torch.arange(3.0)[:, None, None].expand(3, 6, 4), atol=1e-5)


def test_swiglu_in_closed_form() -> None:
    torch.manual_seed(0)
    layer = SwiGLUFeedForward(12, bias=True).double()
    assert layer.outer.in_features == 32
    x = normal(2, 3, 12)
    gate, value = (x @ layer.inner.weight.T + layer.inner.bias).split(32, dim=-1)
    want = (gate / (1 + torch.exp(-gate)) * value) @ layer.outer.weight.T + layer.outer.bias
    assert torch.allclose(layer(x), want, atol=1e-12)


@pytest.mark.parametrize("feed_forward", [SwiGLUFeedForward, GELUFeedForward])
def test_a_block_has_twelve_squares_of_weights(feed_forward: type[nn.Module]) -> None:
    body = Transformer(768, 1, 12, feed_forward, RotaryPositions(64), bias=False, pre_norm=False)
    weights = sum(parameter.numel() for parameter in body.blocks.parameters() if parameter.ndim == 2)
    assert weights == 12 * 768**2


def small(positions: nn.Module) -> Transformer:
    torch.manual_seed(0)
    body = Transformer(16, 2, 2, SwiGLUFeedForward, positions, bias=True, pre_norm=True)
    for parameter in body.parameters():  # larger than at the start, so that attention matters
        nn.init.normal_(parameter, std=0.3)
    return body.double().requires_grad_(False)


def test_places_matter_and_only_through_positions() -> None:
    tokens = normal(1, 12, 16)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))

    class Nowhere(nn.Module):
        def forward(self, tokens: Tensor, grid: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
            return tokens, None

    blind = small(Nowhere())
    assert torch.allclose(blind(tokens, (3, 4))[:, order], blind(tokens[:, order], (3, 4)), atol=1e-12)
    for positions in (RotaryPositions(8), SinCosPositions(16), LearnedPositions(16, side=4)):
        body = small(positions)
        moved = body(tokens[:, order], (3, 4))
        assert float((body(tokens, (3, 4))[:, order] - moved).abs().max()) > 1e-3


def test_block_order_is_pre_norm() -> None:
    """A block is x + attention(norm(x)), then + feed_forward(norm(.)): rebuilt from its parts."""
    body = small(RotaryPositions(8))
    block, x = body.blocks[0], normal(1, 12, 16)
    angles = axial_angles((3, 4), 8)
    h = x + block.attention(F.layer_norm(x, (16,), block.norm1.weight, block.norm1.bias, 1e-6), angles)
    h = h + block.feed_forward(F.layer_norm(h, (16,), block.norm2.weight, block.norm2.bias, 1e-6))
    assert torch.allclose(block(x, angles), h, atol=1e-12)


def test_autocast_computes_in_half_precision_and_stays_close() -> None:
    body = small(RotaryPositions(8)).float()
    tokens = normal(2, 12, 16).float()
    exact = body(tokens, (3, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = body(tokens, (3, 4))
    assert float((rounded.float() - exact).abs().max()) < 0.1 * float(exact.abs().max())


@torch.no_grad()
def test_a_mask_hides_tokens_and_a_full_one_hides_none() -> None:
    torch.manual_seed(0)
    body = Transformer(16, 2, 2, GELUFeedForward, SinCosPositions(16), bias=True, pre_norm=False)
    for parameter in body.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    tokens = torch.randn(1, 6, 16)
    changed = tokens.clone()
    changed[:, 4, 0] += 1.0
    lower = torch.ones(6, 6, dtype=torch.bool).tril()
    before, after = body(tokens, (2, 3), lower), body(changed, (2, 3), lower)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert (after[:, 4:] - before[:, 4:]).abs().amax(dim=2).gt(1e-3).all()
    torch.testing.assert_close(body(tokens, (2, 3), torch.ones_like(lower)), body(tokens, (2, 3)))
