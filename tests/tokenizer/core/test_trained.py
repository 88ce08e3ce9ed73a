"""Patterns choose what moves; what does not is in eval mode and has no gradient."""

from typing import Any

import pytest
import torch

from tokenizer.core.trained import choose_trained, trained_names


def test_frozen_modules_are_in_eval_mode_and_have_no_gradient(tiny_config: Any) -> None:
    model = tiny_config.build()
    choose_trained(model, ("decoder.project_out.*",))
    assert trained_names(model)
    model(torch.zeros(1, 3, 16, 16)).x_hat.sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    assert not model.encoder.training
    assert model.decoder.project_out.training
    with pytest.raises(ValueError, match="matches no parameter"):
        choose_trained(model, ("decoder.head.*",))
