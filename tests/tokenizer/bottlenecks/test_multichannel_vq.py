"""Chunks of channels, each quantized as VQ would, with one codebook."""

from typing import Any

import pytest
import torch

from tokenizer.bottlenecks.multichannel_vq import MultichannelVQConfig
from tokenizer.bottlenecks.vq import VQConfig


@pytest.mark.parametrize("update", ["gradient", "ema"])
def test_it_is_vq_of_the_chunks(update: Any) -> None:
    """Chunk after chunk through one VQ gives the same codes, z and loss."""
    module = MultichannelVQConfig(codebook_size=32, num_codebooks=3, update=update).build(6)
    single = VQConfig(codebook_size=32, update=update).build(2)
    torch.nn.init.normal_(module.book.codebook)
    single.book.load_state_dict(module.book.state_dict())
    h = torch.randn(2, 6, 4, 5)
    out = module.eval()(h)
    chunks = [single.eval()(chunk) for chunk in h.chunk(3, dim=1)]
    assert torch.equal(out.indices, torch.stack([chunk.indices for chunk in chunks], dim=1))
    assert torch.equal(out.z, torch.cat([chunk.z for chunk in chunks], dim=1))
    torch.testing.assert_close(out.loss, torch.stack([chunk.loss for chunk in chunks]).mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_indices_to_z_and_back_is_the_identity(dtype: torch.dtype) -> None:
    module = MultichannelVQConfig(codebook_size=32, num_codebooks=2).build(8).eval()
    torch.nn.init.normal_(module.book.codebook)
    module = module.to(dtype)
    indices = torch.randint(0, 32, (2, 2, 4, 5), generator=torch.Generator().manual_seed(0))
    assert torch.equal(module(module.decode_indices(indices, (4, 5))).indices, indices)


def test_channels_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="num_codebooks 4 must divide the 6 latent channels"):
        MultichannelVQConfig(codebook_size=32).build(6)
