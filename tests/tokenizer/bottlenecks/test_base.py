"""What is sent, and what a continuous bottleneck says about indices."""

import pytest
import torch

from tokenizer.bottlenecks.base import Codes, refuse_indices, zero_loss


def test_an_index_fits_32_bits() -> None:
    with pytest.raises(ValueError, match=r"codebook_size 8589934592 must be 2 to 2\*\*32"):
        Codes(2**33)
    with pytest.raises(ValueError, match="codebook_size 1 must be"):
        Codes(1)


def test_a_continuous_latent_has_no_indices() -> None:
    with pytest.raises(ValueError, match="continuous; it has no indices"):
        refuse_indices()


def test_no_loss_is_a_float32_zero() -> None:
    loss = zero_loss(torch.ones(2, dtype=torch.bfloat16))
    assert loss.dtype == torch.float32
    assert loss.item() == 0.0
