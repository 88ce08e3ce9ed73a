"""Hidden patches leave nothing of themselves; the others are untouched."""

import pytest
import torch

from tokenizer.layers.masking import MaskToken, mask_tokens


def test_hidden_patches_become_the_token_and_the_others_stay() -> None:
    tokens, mask = torch.randn(2, 5, 4), MaskToken(4)
    hidden = torch.tensor([[True, False, False, True, False], [False] * 5])
    out = mask(tokens, hidden)
    assert torch.equal(out[0, 0], mask.token)
    assert torch.equal(out[0, 3], mask.token)
    assert torch.equal(out[~hidden], tokens[~hidden])


def test_without_a_mask_nothing_changes_and_the_gradient_is_zero() -> None:
    tokens, mask = torch.randn(2, 5, 4), MaskToken(4)
    out = mask(tokens, None)
    assert torch.equal(out, tokens)
    out.sum().backward()
    assert mask.token.grad is not None
    assert not mask.token.grad.any()


def test_an_encoder_without_a_token_refuses_to_hide() -> None:
    tokens = torch.randn(1, 2, 4)
    assert mask_tokens(None, tokens, None) is tokens
    with pytest.raises(ValueError, match="mask_token=true"):
        mask_tokens(None, tokens, torch.ones(1, 2, dtype=torch.bool))
