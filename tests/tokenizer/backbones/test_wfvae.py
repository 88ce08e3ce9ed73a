"""Wavelet energy flow: published sizes, and bands that pass the network by; the laws of time are in test_clips.py."""

import pytest
import torch
from torch import nn

from tokenizer.backbones.wfvae import WFVAEConfig


def millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize(("width", "encoder", "decoder"), [(128, 38, 108), (160, 58, 164), (192, 84, 232)])
def test_sizes_are_those_of_the_paper(width: int, encoder: int, decoder: int) -> None:
    """Table 1: S 38 + 108 M, M 58 + 164 M, L 84 + 232 M."""
    config = WFVAEConfig(encoder_width=width, decoder_width=width)
    with torch.device("meta"):
        assert millions(config.build_encoder(16)) == pytest.approx(encoder, rel=0.02)
        assert millions(config.build_decoder()) == pytest.approx(decoder, rel=0.02)


def test_low_bands_alone_make_the_clip_without_the_backbone() -> None:
    """A decoder whose backbone says nothing adds up the bands it reads: what flows is a picture of its own."""
    decoder = WFVAEConfig(latent_channels=2, decoder_width=4, decoder_flow=4, blocks=1).build_decoder()
    nn.init.zeros_(decoder.conv_out.conv.weight)
    nn.init.zeros_(decoder.conv_out.conv.bias)
    out = decoder(torch.randn(1, 2, 2, 2, 2))
    assert out.shape == (1, 3, 5, 16, 16)
    assert out.std() > 0
    assert torch.equal(out[..., 0::2, :], out[..., 1::2, :])  # the finest bands are the backbone's
