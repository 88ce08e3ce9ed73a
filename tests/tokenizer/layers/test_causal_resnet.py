"""The networks of causal 3D convolutions: shapes, frames that see one another only forward, nothing across clips."""

from functools import partial

import torch

from tokenizer.layers.causal_resnet import CausalDecoder, CausalEncoder, FrameAttention, FrameNorm


def test_shapes_of_both_networks() -> None:
    encoder = CausalEncoder(6, (8, 8, 16), 1, 4, time_levels=(1,))
    decoder = CausalDecoder(3, (8, 8, 16), 1, 4, time_levels=(1,))
    assert encoder(torch.randn(2, 3, 5, 8, 12)).shape == (2, 6, 3, 2, 3)
    assert decoder(torch.randn(2, 3, 3, 2, 3)).shape == (2, 3, 5, 8, 12)


def test_norm_and_attention_see_one_frame_at_a_time() -> None:
    norm = FrameNorm(8, 4)
    attention = FrameAttention(8, partial(FrameNorm, groups=4))
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 8, 4, 3, 5)
    for module in (norm, attention):
        whole = module(x)
        assert whole.shape == x.shape
        torch.testing.assert_close(whole[1:, :, 2:3], module(x[1:, :, 2:3]))


def test_blocks_hold_most_parameters_and_do_not_overlap() -> None:
    encoder = CausalEncoder(6, (8, 8, 16), 1, 4, time_levels=(0, 1))
    blocks = list(encoder.blocks())
    inside = sum(p.numel() for block in blocks for p in block.parameters())
    assert inside > 0.7 * sum(p.numel() for p in encoder.parameters())
