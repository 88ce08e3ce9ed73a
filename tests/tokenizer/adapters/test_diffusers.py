"""Modules and folders of diffusers come in and go out; what cannot is refused in a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.tokenizer.adapters.diffusers.parity import (
    DC,
    KL,
    UNEVEN,
    assert_close,
    assert_identical,
    assert_same,
    dc,
    kl,
    picture,
    taesd,
    their_latent,
    their_picture,
    tiny,
)
from tokenizer.adapters.diffusers import from_diffusers, load_diffusers, to_diffusers
from tokenizer.config import TokenizerConfig


@pytest.mark.parametrize("make", [dc, kl, taesd])
def test_sides_that_do_not_divide_are_padded_and_cropped(make: Any) -> None:
    theirs = make(**(DC["stem downsamples"] if make is dc else {}))
    ours = from_diffusers(theirs)
    x = picture(29, 43)
    padded = nn.functional.pad(x, (0, 1, 0, 3), mode="replicate")
    latent = ours.encode(x)
    assert_close(latent.z, their_latent(theirs, padded))
    x_hat = ours.decode(latent)
    assert x_hat.shape == x.shape
    assert_close(x_hat, their_picture(theirs, latent.z)[..., :29, :43])


@pytest.mark.parametrize("kind", ["dcae", "kl", "taesd"])
def test_scaled_export_keeps_raw_latents_and_pictures(kind: str) -> None:
    ours = tiny(kind, UNEVEN)
    theirs = to_diffusers(ours)
    x = picture()
    latent = ours.encode(x)
    raw = ours.spec.denormalize(latent.z)
    scale, shift = theirs.config.scaling_factor, getattr(theirs.config, "shift_factor", None) or 0.0
    assert_close(raw, their_latent(theirs, x) / scale + shift)
    assert_close(ours.decode(latent), theirs.decode(raw).sample)
    mean, std = torch.tensor(UNEVEN[0]), torch.tensor(UNEVEN[1])
    assert shift == pytest.approx(0.0 if kind == "dcae" else mean.mean().item())
    assert scale == pytest.approx(((mean - shift).square() + std.square()).mean().rsqrt().item())


def test_exporting_without_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no latent statistics.*tokenizer\.stats"):
        to_diffusers(tiny("dcae"))


def test_exporting_the_wrong_bottleneck_or_backbone_is_refused() -> None:
    tree = {
        "backbone": {"kind": "kl", "widths": (8, 16), "norm_groups": 4},
        "bottleneck": {"kind": "identity"},
    }
    plain = TokenizerConfig.parse(tree).build()
    plain.spec = plain.spec.from_convention(1.0)
    with pytest.raises(ValueError, match="only a tokenizer with bottleneck kl"):
        to_diffusers(plain)

    tree["backbone"] = tiny_dc_with_kl()
    tree["bottleneck"] = {"kind": "kl"}
    gaussian = TokenizerConfig.parse(tree).build()
    gaussian.spec = gaussian.spec.from_convention(1.0)
    with pytest.raises(ValueError, match="only a tokenizer with bottleneck identity"):
        to_diffusers(gaussian)

    plain.encoder = nn.Conv2d(3, 4, 1)
    with pytest.raises(ValueError, match="only dcae, kl, taesd and vqgan backbones"):
        to_diffusers(plain)


def tiny_dc_with_kl() -> dict[str, Any]:
    depths = {"encoder_depths": (1, 1), "decoder_depths": (1, 1)}
    parts = {"blocks": ("res",) * 2, "decoder_norms": ("rms",) * 2, "decoder_activations": ("silu",) * 2}
    return {"kind": "dcae", "latent_channels": 4, "widths": (8, 16), **depths, **parts}


def test_another_class_is_refused() -> None:
    with pytest.raises(
        ValueError, match="ConsistencyDecoderVAE.*AutoencoderDC, AutoencoderKL, AutoencoderTiny, VQModel"
    ):
        from_diffusers(type("ConsistencyDecoderVAE", (nn.Module,), {})())


@pytest.mark.parametrize("make", [dc, kl, taesd])
def test_folders_load_without_their_class_and_come_back(make: Any, tmp_path: Path) -> None:
    theirs = make(**(DC["stem downsamples"] if make is dc else KL["shift and scale"]))  # taesd has both too
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_diffusers(tmp_path / "theirs")
    assert_same(ours, theirs, picture())

    to_diffusers(ours).save_pretrained(tmp_path / "back")
    loaded = type(theirs).from_pretrained(tmp_path / "back")
    assert_same(ours, loaded, picture())
    before, after = (
        load_file(tmp_path / name / "diffusion_pytorch_model.safetensors") for name in ("theirs", "back")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_spec_id_follows_weights_and_convention(tmp_path: Path) -> None:
    theirs = dc(**DC["stem downsamples"])
    theirs.save_pretrained(tmp_path)
    first = load_diffusers(tmp_path)
    assert len(first.spec_id) == 16
    assert load_diffusers(tmp_path).spec_id == first.spec_id

    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.5}))
    rescaled = load_diffusers(tmp_path)
    assert rescaled.spec_id != first.spec_id
    with pytest.raises(ValueError, match=f"{first.spec_id}.*{rescaled.spec_id}"):
        rescaled.decode(first.encode(picture()))

    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["encoder.conv_out.bias"] += 1
    save_file(tensors, weights)
    assert load_diffusers(tmp_path).spec_id not in {first.spec_id, rescaled.spec_id}


def test_broken_folders_say_what_is_wrong(tmp_path: Path) -> None:
    theirs = kl()
    theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    weights = tmp_path / "diffusion_pytorch_model.safetensors"

    (tmp_path / "config.json").write_text(json.dumps(config | {"block_out_channels": [8, 16, 32]}))
    with pytest.raises(ValueError, match="weights do not fit the AutoencoderKL configuration"):
        load_diffusers(tmp_path)

    tensors = load_file(weights)
    save_file(tensors | {"loss.logvar": torch.zeros(1)}, weights)
    with pytest.raises(ValueError, match=r"no rule for the tensor 'loss\.logvar'"):
        load_diffusers(tmp_path)

    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is damaged"):
        load_diffusers(tmp_path)

    weights.rename(tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match="pickled weights are never read"):
        load_diffusers(tmp_path)


def test_half_precision_weights_become_float32_and_the_source_stays(tmp_path: Path) -> None:
    theirs = kl().to(torch.bfloat16)
    ours = from_diffusers(theirs)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    ours.encoder.get_parameter("conv_in.weight").data.zero_()
    assert theirs.get_parameter("encoder.conv_in.weight").abs().max() > 0
    assert next(theirs.parameters()).dtype == torch.bfloat16


def test_our_weights_cross_over_and_back_unchanged() -> None:
    for kind in ("dcae", "kl", "taesd"):
        ours = tiny(kind, UNEVEN)
        returned = from_diffusers(to_diffusers(ours))
        assert_identical(returned, ours)
