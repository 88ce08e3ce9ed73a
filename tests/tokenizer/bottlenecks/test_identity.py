"""No bottleneck: z is h, there is nothing to pay and nothing to index."""

import torch

from tokenizer.bottlenecks.identity import IdentityConfig


def test_z_is_h_and_free() -> None:
    h = torch.randn(2, 4, 3, 5)
    out = IdentityConfig().build(4)(h, sample=True, noise=torch.randn_like(h))
    assert out.z is h
    assert out.indices is None
    assert out.loss.item() == 0.0
    assert out.stats == {}


def test_the_encoder_gives_the_latent_itself() -> None:
    assert IdentityConfig().build(32).input_channels == 32
