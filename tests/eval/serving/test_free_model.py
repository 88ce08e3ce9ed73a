"""The nearly free tokenizer is a folder like any other, and nearly free."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import tokenizer
from eval.serving.free_model import PATCH, save_free_tokenizer, save_random_tokenizer
from tokenizer.config import TokenizerConfig


@pytest.mark.parametrize("size", [(64, 64), (52, 52), (130, 70)])
def test_any_size_goes_through_it(tmp_path: Path, size: tuple[int, int]) -> None:
    model = tokenizer.load(save_free_tokenizer(tmp_path / "free"))
    latent = model.encode(torch.zeros(2, 3, *size))
    assert latent.z.shape == (2, 8, -(-size[0] // PATCH), -(-size[1] // PATCH))
    assert model.decode(latent).shape == (2, 3, *size)


def test_it_costs_what_its_text_says(tmp_path: Path) -> None:
    model = tokenizer.load(save_free_tokenizer(tmp_path / "free"))
    x = torch.zeros(1, 3, PATCH, PATCH)
    with FlopCounterMode(display=False) as counter:
        model.encode(x)
    assert counter.get_total_flops() / 2 == pytest.approx(1e5, rel=0.1)


def test_random_weights_are_the_same_again(tmp_path: Path) -> None:
    config = TokenizerConfig.parse({"backbone": {"kind": "taesd", "latent_channels": 4}})
    first, second = (tokenizer.load(save_random_tokenizer(tmp_path / name, config)) for name in "ab")
    assert first.spec_id == second.spec_id
    assert first.spec.has_statistics
