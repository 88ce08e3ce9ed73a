"""The same weights give the same latents and pictures in diffusers and here, in both directions."""

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tokenizer.adapters.diffusers import from_diffusers, load_diffusers, to_diffusers
from tokenizer.backbones.dcae import LinearAttention
from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder
from tokenizer.spec import Latent

DC: dict[str, dict[str, Any]] = {
    "stem downsamples": {"encoder_layers_per_block": (0, 1, 2), "decoder_layers_per_block": (0, 2, 1)},
    "stem keeps size": {"encoder_layers_per_block": (1, 1, 2), "decoder_layers_per_block": (2, 1, 1)},
    "no latent shortcuts": {
        "encoder_layers_per_block": (0, 1, 1),
        "decoder_layers_per_block": (0, 1, 1),
        "encoder_out_shortcut": False,
        "decoder_in_shortcut": False,
        "decoder_conv_act_fn": "silu",
    },
    "one name for all": {
        "encoder_layers_per_block": (1, 1, 1),
        "decoder_layers_per_block": (1, 1, 1),
        "encoder_block_types": "ResBlock",
        "decoder_block_types": "ResBlock",
        "decoder_norm_types": "rms_norm",
        "decoder_act_fns": "relu",
    },
}
KL: dict[str, dict[str, Any]] = {
    "as published": {},
    "without quant conv": {"use_quant_conv": False, "use_post_quant_conv": False},
    "shift and scale": {"shift_factor": 0.0609, "scaling_factor": 1.5305},
    "per channel": {"latents_mean": (0.1, -0.2, 0.3, 0.0), "latents_std": (1.5, 0.5, 2.0, 1.0)},
    "no attention": {"mid_block_add_attention": False, "layers_per_block": 1},
}


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random parameters and running statistics, so that no two tensors can be swapped unseen."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + noise.abs())
        elif tensor.ndim > 1:
            tensor.copy_(noise / tensor[0].numel() ** 0.5)
        else:
            tensor.copy_(0.2 * noise + ("norm" in name and name.endswith("weight")))
    return module.eval().requires_grad_(False)


def dc(**changes: Any) -> nn.Module:
    settings: dict[str, Any] = {
        "latent_channels": 16,
        "attention_head_dim": 8,
        "encoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
        "decoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
        "encoder_block_out_channels": (8, 16, 32),
        "decoder_block_out_channels": (8, 16, 32),
        "encoder_qkv_multiscales": ((), (), ()),
        "decoder_qkv_multiscales": ((), (), ()),
        "decoder_norm_types": ("batch_norm", "batch_norm", "rms_norm"),
        "decoder_act_fns": ("relu", "relu", "silu"),
        "scaling_factor": 0.41407,
    }
    return randomize(diffusers.AutoencoderDC(**settings | changes))


def kl(**changes: Any) -> nn.Module:
    settings: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "block_out_channels": (8, 16, 16),
        "layers_per_block": 2,
        "norm_num_groups": 4,
        "latent_channels": 4,
    }
    return randomize(diffusers.AutoencoderKL(**settings | changes))


def picture(height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(7)) * 2 - 1


def their_latent(module: nn.Module, x: Tensor) -> Tensor:
    """The latent as their pipelines hand it to a generator."""
    config = module.config
    if isinstance(module, diffusers.AutoencoderDC):
        return module.encode(x).latent * config.scaling_factor
    z = module.encode(x).latent_dist.mode()
    if config.latents_mean is not None:
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (config.latents_mean, config.latents_std))
        return (z - mean) / std * config.scaling_factor
    return (z - (config.shift_factor or 0.0)) * config.scaling_factor


def their_picture(module: nn.Module, z: Tensor) -> Tensor:
    config = module.config
    if getattr(config, "latents_mean", None) is not None:
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (config.latents_mean, config.latents_std))
        return module.decode(z * std / config.scaling_factor + mean).sample
    return module.decode(z / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)).sample


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert theirs.std() > 1e-3  # a constant would agree with anything
    assert (ours - theirs).abs().max() <= 1e-5 * (theirs.max() - theirs.min())


def assert_same(ours: Autoencoder, theirs: nn.Module, x: Tensor) -> None:
    latent = ours.encode(x)
    assert_close(latent.z, their_latent(theirs, x))
    assert_close(ours.decode(latent), their_picture(theirs, latent.z))


def tiny(kind: str, statistics: tuple[list[float], list[float]] | None = None) -> Autoencoder:
    backbone: dict[str, Any] = {
        "dcae": {
            "latent_channels": 4,
            "widths": (8, 16, 32),
            "encoder_depths": (0, 1, 1),
            "decoder_depths": (0, 1, 1),
            "blocks": ("res", "res", "efficientvit"),
            "decoder_norms": ("batch", "batch", "rms"),
            "decoder_activations": ("relu", "relu", "silu"),
            "head_dim": 8,
        },
        "kl": {"widths": (8, 16, 16), "norm_groups": 4, "blocks_per_level": 1},
    }[kind]
    bottleneck = {"dcae": "identity", "kl": "kl"}[kind]
    tree = {"backbone": {"kind": kind, **backbone}, "bottleneck": {"kind": bottleneck}}
    autoencoder = TokenizerConfig.parse(tree).build()
    randomize(autoencoder)
    if statistics is not None:
        autoencoder.spec = autoencoder.spec.with_statistics({"z": statistics})
    return autoencoder


UNEVEN = ([0.3, -0.2, 0.0, 1.0], [0.5, 1.0, 2.0, 1.5])


@pytest.mark.parametrize("size", [(32, 48), (8, 8)], ids=["linear attention", "quadratic attention"])
@pytest.mark.parametrize("case", DC)
def test_dc_equals_diffusers_and_comes_back(case: str, size: tuple[int, int]) -> None:
    theirs = dc(**DC[case])
    ours = from_diffusers(theirs)
    assert_same(ours, theirs, picture(*size))

    back = to_diffusers(ours)
    assert back.config.scaling_factor == theirs.config.scaling_factor
    assert_identical(back, theirs)


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


def assert_identical(back: nn.Module, theirs: nn.Module) -> None:
    state, expected = back.state_dict(), theirs.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


@pytest.mark.parametrize("make", [dc, kl])
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


def test_kl_samples_with_the_same_noise_agree() -> None:
    theirs = kl()
    ours = from_diffusers(theirs)
    x = picture()
    posterior = theirs.encode(x).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(3))
    sampled = ours.encode(x, sample=True, generator=torch.Generator().manual_seed(3)).z
    assert_close(sampled, (posterior.mean + posterior.std * noise) * theirs.config.scaling_factor)


def test_reading_q_k_v_by_their_names_is_wrong() -> None:
    """The trap: to_q is a third of the fused channels, in which the heads interleave q, k and v."""
    theirs = dc(**DC["stem downsamples"])
    ours = from_diffusers(theirs)
    x = picture()
    right = their_latent(theirs, x)
    assert_close(ours.encode(x).z, right)
    for module in ours.encoder.modules():
        if isinstance(module, LinearAttention):
            blocks = module.qkv.weight.chunk(3)  # read as all queries, all keys, all values
            heads = [block.split(module.head_dim) for block in blocks]
            per_head = [torch.cat(parts) for parts in zip(*heads, strict=True)]
            module.qkv.weight.data = torch.cat(per_head)
    wrong = ours.encode(x).z
    assert (wrong - right).abs().max() > 0.01 * (right.max() - right.min())


@pytest.mark.parametrize("kind", ["dcae", "kl"])
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


def test_folded_dc_latents_are_ours_normalised_where_the_means_are_zero() -> None:
    for shortcut in (True, False):
        ours = from_diffusers(dc(**DC["stem downsamples" if shortcut else "no latent shortcuts"]))
        ours.spec = ours.spec.from_convention([0.25 + 0.5 * channel for channel in range(16)])
        theirs = to_diffusers(ours, latents="folded")
        assert theirs.config.scaling_factor == 1.0
        assert_same(ours, theirs, picture())


def test_folding_a_mean_into_dc_is_refused() -> None:
    with pytest.raises(ValueError, match="mean per channel cannot be folded.*latents=scaled"):
        to_diffusers(tiny("dcae", UNEVEN), latents="folded")


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
    with pytest.raises(ValueError, match="only dcae and kl backbones"):
        to_diffusers(plain)


def tiny_dc_with_kl() -> dict[str, Any]:
    depths = {"encoder_depths": (1, 1), "decoder_depths": (1, 1)}
    parts = {"blocks": ("res",) * 2, "decoder_norms": ("rms",) * 2, "decoder_activations": ("silu",) * 2}
    return {"kind": "dcae", "latent_channels": 4, "widths": (8, 16), **depths, **parts}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"in_channels": 1}, "in_channels=1"),
        ({"downsample_block_type": "conv"}, "downsample_block_type='conv'"),
        ({"upsample_block_type": "interpolate"}, "upsample_block_type='interpolate'"),
        ({"decoder_block_types": "ResBlock"}, "decoder_block_types='ResBlock'"),
        ({"encoder_qkv_multiscales": ((), (), (5,))}, "encoder_qkv_multiscales"),
        ({"decoder_norm_types": "batch_norm"}, "decoder_norm_types 'rms_norm'"),
        ({"decoder_norm_types": "layer_norm"}, "decoder_norm_types='layer_norm'"),
        ({"decoder_act_fns": "gelu"}, "decoder_act_fns='gelu'"),
        ({"decoder_block_out_channels": (4, 16, 32)}, "decoder_block_out_channels"),
    ],
)
def test_what_our_dc_network_cannot_express_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  (the sentence is checked below)
        from_diffusers(dc(**DC["stem keeps size"] | changes))
    assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"in_channels": 1}, "in_channels=1"),
        ({"out_channels": 6}, "out_channels=6"),
        ({"act_fn": "gelu"}, "act_fn='gelu'"),
        ({"down_block_types": ("DownEncoderBlock2D",) * 2 + ("AttnDownEncoderBlock2D",)}, "down_block_types"),
        ({"latents_mean": (0.0,) * 4, "latents_std": (1.0,) * 4, "shift_factor": 0.1}, "shift_factor=0.1"),
    ],
)
def test_what_our_kl_network_cannot_express_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  (the sentence is checked below)
        from_diffusers(kl(**changes))
    assert named in str(refusal.value)


def test_another_class_is_refused() -> None:
    with pytest.raises(ValueError, match="AutoencoderTiny.*AutoencoderDC and AutoencoderKL"):
        from_diffusers(
            diffusers.AutoencoderTiny(
                encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4
            )
        )


@pytest.mark.parametrize("make", [dc, kl])
def test_folders_load_without_their_class_and_come_back(make: Any, tmp_path: Path) -> None:
    theirs = make(**(DC["stem downsamples"] if make is dc else KL["shift and scale"]))
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


def test_attention_names_of_old_folders_are_understood(tmp_path: Path) -> None:
    theirs = kl()
    theirs.save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        tensors = {
            key.replace(f".attentions.0.{new}.", f".attentions.0.{old}."): t for key, t in tensors.items()
        }
    assert any(".query." in key for key in tensors)
    save_file(tensors, weights)
    assert_same(load_diffusers(tmp_path), theirs, picture())


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
    for kind in ("dcae", "kl"):
        ours = tiny(kind, UNEVEN)
        returned = from_diffusers(to_diffusers(ours))
        assert_identical(returned, ours)


def test_export_latent_decodes_from_a_foreign_generator() -> None:
    """A latent from outside (no spec_id) goes through either side alike."""
    theirs = dc(**DC["stem keeps size"])
    ours = from_diffusers(theirs)
    z = torch.randn(1, 16, 5, 7, generator=torch.Generator().manual_seed(1))
    assert_close(ours.decode(Latent({"z": z}, (20, 28))), their_picture(theirs, z))
