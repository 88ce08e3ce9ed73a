"""AutoencoderKL and ours: the same weights give the same latents and pictures, in both directions."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tokenizer.adapters.diffusers.parity import (
    KL,
    UNEVEN,
    assert_close,
    assert_identical,
    assert_same,
    kl,
    picture,
)
from tokenizer.adapters.diffusers import from_diffusers, load_diffusers, to_diffusers
from tokenizer.config import TokenizerConfig
from tokenizer.layers.resnet import Attention


@pytest.mark.parametrize("case", KL)
def test_kl_equals_diffusers_and_comes_back(case: str) -> None:
    theirs = kl(**KL[case])
    ours = from_diffusers(theirs)
    assert_same(ours, theirs, picture())

    back = to_diffusers(ours)
    assert_identical(back, theirs)
    if case == "per channel":
        assert back.config.latents_mean is None
    else:
        assert back.config.scaling_factor == theirs.config.scaling_factor
        assert back.config.shift_factor == theirs.config.shift_factor


def test_kl_samples_with_the_same_noise_agree() -> None:
    theirs = kl()
    ours = from_diffusers(theirs)
    x = picture()
    posterior = theirs.encode(x).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(3))
    sampled = ours.encode(x, sample=True, generator=torch.Generator().manual_seed(3)).z
    assert_close(sampled, (posterior.mean + posterior.std * noise) * theirs.config.scaling_factor)


def test_attention_positions_count_from_full_resolution_on_both_sides() -> None:
    ours = from_diffusers(kl(**KL["attention at levels"]))
    names = [name for name, module in ours.named_modules() if isinstance(module, Attention)]
    assert names == [
        *(f"encoder.levels.{level}.attention{block}" for level in (1, 2) for block in (0, 1)),
        "encoder.mid.attention",
        "decoder.mid.attention",
        *(f"decoder.levels.0.attention{block}" for block in (0, 1, 2)),
    ]


@pytest.mark.parametrize("quant_conv", [True, False])
def test_folded_kl_latents_are_ours_normalised(quant_conv: bool) -> None:
    reference = from_diffusers(kl(use_quant_conv=quant_conv, use_post_quant_conv=quant_conv))
    reference.spec = reference.spec.with_statistics({"z": UNEVEN})
    theirs = to_diffusers(reference, latents="folded")
    assert (theirs.config.scaling_factor, theirs.config.shift_factor) == (1.0, None)
    assert_same(reference, theirs, picture())
    x = picture()
    noise = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(3))
    posterior = theirs.encode(x).latent_dist
    sampled = reference.encode(x, sample=True, generator=torch.Generator().manual_seed(3)).z
    assert_close(posterior.mean + posterior.std * noise, sampled)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"in_channels": 1}, "in_channels=1"),
        ({"out_channels": 6}, "out_channels=6"),
        ({"act_fn": "gelu"}, "act_fn='gelu'"),
        ({"down_block_types": ("DownEncoderBlock2D",) * 2 + ("DownBlock2D",)}, "down_block_types"),
        ({"latents_mean": (0.0,) * 4, "latents_std": (1.0,) * 4, "shift_factor": 0.1}, "shift_factor=0.1"),
    ],
)
def test_what_our_kl_network_cannot_express_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  (the sentence is checked below)
        from_diffusers(kl(**changes))
    assert named in str(refusal.value)


def test_a_vqgan_backbone_is_refused() -> None:
    backbone = {
        "kind": "vqgan",
        "widths": (8, 16),
        "norm_groups": 4,
        "encoder_attention": (),
        "latent_channels": 4,
    }
    tree = {"backbone": backbone | {"decoder_attention": ()}, "bottleneck": {"kind": "kl"}}
    ours = TokenizerConfig.parse(tree).build()
    ours.spec = ours.spec.from_convention(1.0)
    with pytest.raises(ValueError, match="cannot express a vqgan backbone"):
        to_diffusers(ours)


@pytest.mark.parametrize("case", ["as published", "attention at levels"])
def test_attention_names_of_old_folders_are_understood(case: str, tmp_path: Path) -> None:
    theirs = kl(**KL[case])
    theirs.save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        tensors = {
            re.sub(rf"(\.attentions\.\d+\.){re.escape(new)}\.", rf"\g<1>{old}.", key): tensor
            for key, tensor in tensors.items()
        }
    assert any(".query." in key for key in tensors)
    save_file(tensors, weights)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["scaling_factor"]  # not written then: the class has a default
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert_same(load_diffusers(tmp_path), theirs, picture())
