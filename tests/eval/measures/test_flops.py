"""Operations in closed form."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval.measures.flops import count
from tokenizer.model import Autoencoder

CPU = torch.device("cpu")


def test_two_convolutions(toy: Callable[..., Autoencoder]) -> None:
    down = nn.Conv2d(3, 5, 4, stride=4)
    up = nn.ConvTranspose2d(5, 3, 4, stride=4)
    tokenizer = toy(down.requires_grad_(False), up.requires_grad_(False), 5, 4)
    found = count(tokenizer, (32, 24), CPU)
    assert found.encode == 2 * (8 * 6) * 5 * (3 * 4 * 4)
    assert found.decode == 2 * (8 * 6) * 5 * (3 * 4 * 4)
    assert found.both == found.encode + found.decode


def test_attention_is_counted(toy: Callable[..., Autoencoder]) -> None:
    def attend(x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)  # (B, 1, N, 3)
        return (
            F.scaled_dot_product_attention(tokens, tokens, tokens).squeeze(1).transpose(1, 2).reshape(x.shape)
        )

    found = count(toy(attend, lambda z: z, 3, 1), (8, 8), CPU)
    assert found.encode == 2 * 2 * 64 * 64 * 3  # scores and their mixture
    assert found.decode == 0
