"""Parity with diffusers' DiTTransformer2DModel, both ways."""

from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel

from diffusion.backbones.dit import DiT, DiTConfig
from diffusion.convert import from_diffusers, read_diffusers, to_diffusers, write_diffusers

SETTINGS = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": 3,
    "num_layers": 2,
    "sample_size": 6,
    "num_embeds_ada_norm": 5,
}


def tied(**settings: object) -> DiTTransformer2DModel:
    """A random model of theirs, nothing zero, with the embedders of all blocks equal."""
    torch.manual_seed(0)
    model = DiTTransformer2DModel(**(SETTINGS | settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn_like(parameter))
    first = model.transformer_blocks[0].norm1.emb.state_dict()
    for block in model.transformer_blocks[1:]:
        block.norm1.emb.load_state_dict(first)
    return model


def inputs(channels: int = 3, side: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    z_t = torch.randn(4, channels, side, side, generator=generator)
    return z_t, torch.tensor([0.0, 0.3, 0.71, 1.0]), torch.tensor([0, 4, 2, 5])  # 5 is the null label


def assert_equal_outputs(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    span = float(theirs.max() - theirs.min())
    assert span > 0.1
    assert float((ours - theirs).abs().max()) <= 1e-5 * span


@pytest.mark.parametrize(
    "settings",
    [
        {"patch_size": 1},
        {"patch_size": 2},
        {"patch_size": 2, "out_channels": 6},
        {"patch_size": 3, "norm_eps": 1e-3},
    ],
)
@torch.no_grad()
def test_ours_computes_what_theirs_does(settings: dict[str, object]) -> None:
    theirs = tied(**settings)
    ours = from_diffusers(theirs.config, theirs.state_dict()).build()
    z_t, t, y = inputs()
    assert_equal_outputs(ours(z_t, t, y), theirs(z_t, 1000 * t, y).sample)


@torch.no_grad()
def test_an_export_loads_in_diffusers_and_computes_the_same(tmp_path: Path) -> None:
    config = DiTConfig(depth=2, width=32, heads=4, patch=2)
    torch.manual_seed(2)
    ours = config.build(latent_shape=(3, 6, 6), num_classes=5).eval()
    for parameter in ours.parameters():
        parameter.copy_(0.1 * torch.randn_like(parameter))
    write_diffusers(tmp_path / "export", config, (3, 6, 6), 5, ours.state_dict())
    theirs = DiTTransformer2DModel.from_pretrained(tmp_path / "export").eval()
    z_t, t, y = inputs()
    assert_equal_outputs(ours(z_t, t, y), theirs(z_t, 1000 * t, y).sample)


def test_there_and_back_is_the_identity(tmp_path: Path) -> None:
    theirs = tied(patch_size=2)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = read_diffusers(tmp_path / "theirs")
    settings, state = to_diffusers(ours.config, ours.latent_shape, ours.num_classes, ours.state)
    wanted = theirs.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    assert {name: theirs.config[name] for name in settings if name != "_class_name"} == {
        name: value for name, value in settings.items() if name != "_class_name"
    } | {"out_channels": None}
    assert isinstance(ours.build(), DiT)


def test_untied_embedders_are_refused() -> None:
    theirs = tied(patch_size=2)
    with torch.no_grad():
        theirs.transformer_blocks[1].norm1.emb.class_embedder.embedding_table.weight[0, 0] += 1
    with pytest.raises(ValueError, match=r"not tied: transformer_blocks\.1\.norm1\.emb\.class_embedder"):
        from_diffusers(theirs.config, theirs.state_dict())


@pytest.mark.parametrize(("name", "value"), [("activation_fn", "geglu"), ("norm_elementwise_affine", True)])
def test_settings_without_a_counterpart_are_refused(name: str, value: object) -> None:
    theirs = tied(patch_size=2)
    with pytest.raises(ValueError, match=name):
        from_diffusers(dict(theirs.config) | {name: value}, theirs.state_dict())


def test_missing_and_unknown_tensors_are_named() -> None:
    theirs = tied(patch_size=2)
    state = theirs.state_dict()
    with pytest.raises(ValueError, match="unknown tensors: extra"):
        from_diffusers(theirs.config, state | {"extra": torch.zeros(1)})
    state.pop("proj_out_1.bias")
    with pytest.raises(ValueError, match=r"lacks proj_out_1\.bias"):
        from_diffusers(theirs.config, state)


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (DiTConfig(depth=1, width=32, heads=4, rotary=True), (3, 6, 6), "only the plain DiT"),
        (DiTConfig(depth=1, width=32, heads=4, mlp_ratio=2), (3, 6, 6), "MLP of 4 widths"),
        (DiTConfig(depth=1, width=32, heads=4), (3, 6, 4), "square latents"),
    ],
)
def test_what_diffusers_cannot_express_is_refused(
    config: DiTConfig, shape: tuple[int, int, int], message: str
) -> None:
    model = config.build(latent_shape=shape, num_classes=5)
    with pytest.raises(ValueError, match=message):
        to_diffusers(config, shape, 5, model.state_dict())


@pytest.mark.slow
@torch.no_grad()
def test_dit_b_2_at_full_size(tmp_path: Path) -> None:
    """130M parameters, 32x32 latents, 1000 classes; random weights of trained scale, so every tensor counts."""
    config = DiTConfig.parse({"preset": "B", "patch": 2})
    torch.manual_seed(3)
    ours = config.build(latent_shape=(4, 32, 32), num_classes=1000).eval()
    for parameter in ours.parameters():
        parameter.copy_(0.03 * torch.randn_like(parameter))
    write_diffusers(tmp_path / "export", config, (4, 32, 32), 1000, ours.state_dict())
    theirs = DiTTransformer2DModel.from_pretrained(tmp_path / "export").eval()
    z_t, t, y = torch.randn(2, 4, 32, 32), torch.tensor([0.2, 0.9]), torch.tensor([7, 1000])
    expected = theirs(z_t, 1000 * t, y).sample
    assert_equal_outputs(ours(z_t, t, y), expected)
    back = read_diffusers(tmp_path / "export")
    assert back.config == config.model_copy(update={"preset": None})
    state = ours.state_dict()
    assert back.state.keys() == state.keys()
    assert all(torch.equal(back.state[name], state[name]) for name in state)
