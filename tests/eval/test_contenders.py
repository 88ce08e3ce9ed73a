"""Both sides of a comparison compute the same from the same weights."""

import pytest
import torch

from eval.contenders import denoiser_contenders, tokenizer_contenders

CPU = torch.device("cpu")


@pytest.mark.parametrize("operation", ["encode", "decode"])
def test_tokenizers_agree(operation: str) -> None:
    ours, theirs = tokenizer_contenders("random:tiny", CPU, against="diffusers", resolution=32, seed=0)
    with torch.inference_mode():
        a, b = (
            side.prepare(operation, 2, torch.float32, torch.contiguous_format)() for side in (ours, theirs)
        )
    assert b.std() > 0
    assert (a - b).abs().max() <= 1e-5 * (b.max() - b.min())
    assert sum(p.numel() for p in ours.module.parameters()) == sum(
        p.numel() for p in theirs.module.parameters()
    )


def test_denoisers_agree_on_weights_that_are_not_zero() -> None:
    ours, theirs = denoiser_contenders("random:dit-S/16", CPU, against="diffusers", seed=0)
    with torch.inference_mode():
        a, b = (
            side.prepare("denoise", 2, torch.float32, torch.contiguous_format)() for side in (ours, theirs)
        )
    assert b.std() > 1e-3
    assert (a - b).abs().max() <= 1e-5 * (b.max() - b.min())


def test_alone_there_is_one_side() -> None:
    assert len(tokenizer_contenders("random:tiny", CPU, against=None, resolution=50, seed=0)) == 1


def test_inputs_are_the_same_each_time_and_follow_the_seed() -> None:
    outputs = []
    for seed in (0, 0, 1):
        (side,) = tokenizer_contenders("random:tiny", CPU, against=None, resolution=32, seed=seed)
        with torch.inference_mode():
            outputs.append(side.prepare("encode", 1, torch.float32, torch.contiguous_format)())
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_what_cannot_be_compared_says_why() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        tokenizer_contenders("random:tiny", CPU, against="diffusers", resolution=50, seed=0)
    with pytest.raises(ValueError, match="random:dit-B/2"):
        denoiser_contenders("random:dit-Z/2", CPU, against=None, seed=0)
    with pytest.raises(ValueError, match="no preset 'nothing'"):
        tokenizer_contenders("random:nothing", CPU, against=None, resolution=32, seed=0)
