"""Hidden patches: drawn by picture, not seen, and asked for all the same."""

from typing import Any

import pytest
import torch

from tokenizer.config import TokenizerConfig
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.regularizers.token_masking import TokenMaskingConfig
from tokenizer.spec import PartSpec

ROW = PartSpec(layout="1d", channels=4, num_tokens=6)
SMALL = {"width": 16, "depth": 1, "heads": 2}


def model(**changes: Any) -> Any:
    torch.manual_seed(0)
    backbone = {
        "kind": "query1d",
        "tokens": 6,
        "latent_channels": 4,
        "patch": 4,
        "learned_side": 4,
        "encoder": SMALL,
        "decoder": SMALL,
        "mask_token": True,
    }
    return TokenizerConfig.parse({"backbone": backbone | changes}).build()


def draw(*keys: int) -> Draw:
    return Draw(torch.tensor(keys), step=3, factor=4)


def test_shares_lie_between_the_two_and_depend_on_the_picture_alone() -> None:
    masking = TokenMaskingConfig(low=0.25, high=0.75).build(ROW)
    x = torch.zeros(64, 3, 16, 16)
    hidden = masking.hide(x, draw(*range(64)))
    assert hidden.shape == (64, 16)
    shares = hidden.float().mean(dim=1)
    assert shares.min() >= 0.25
    assert shares.max() <= 0.75
    assert len(shares.unique()) > 4
    assert hidden.float().mean(dim=0).std() < 0.15  # no place is favoured
    assert torch.equal(masking.hide(x[:2], draw(9, 5)), hidden[[9, 5]])


def test_what_is_hidden_does_not_reach_the_latent_and_is_still_the_target() -> None:
    network = model()
    module = Regularized(network, {"token_masking": TokenMaskingConfig(low=0.5, high=0.5).build(ROW)})
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    first = module(x, draw(1, 2))
    hidden = first.extras["hidden"]
    assert hidden.sum(dim=1).tolist() == [8, 8]
    where = hidden.view(2, 1, 4, 4).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    assert torch.equal(module(torch.where(where, -x, x), draw(1, 2)).z, first.z)
    assert not torch.equal(module(torch.where(where, x, -x), draw(1, 2)).z, first.z)
    assert torch.equal(first.target, x)
    assert not torch.equal(network(x).z, first.z)


def test_a_grid_of_tokens_can_be_masked_too() -> None:
    tree = {
        "kind": "vit",
        "patch": 4,
        "latent_channels": 4,
        "encoder": SMALL,
        "decoder": SMALL,
        "mask_token": True,
    }
    network = TokenizerConfig.parse({"backbone": tree}).build()
    module = Regularized(network, {"token_masking": TokenMaskingConfig().build(network.spec.z)})
    step = module(torch.rand(2, 3, 16, 16), draw(1, 2))
    step.x_hat.sum().backward()
    assert step.x_hat.shape == (2, 3, 16, 16)
    assert network.encoder.mask.token.grad.abs().sum() > 0


def test_an_encoder_without_a_token_for_them_refuses() -> None:
    module = Regularized(model(mask_token=False), {"token_masking": TokenMaskingConfig().build(ROW)})
    with pytest.raises(ValueError, match="mask_token=true"):
        module(torch.rand(2, 3, 16, 16), draw(1, 2))


def test_shares_must_rise() -> None:
    with pytest.raises(ValueError, match="low 0.7 must not be above high, 0.6"):
        TokenMaskingConfig.parse({"low": 0.7})
