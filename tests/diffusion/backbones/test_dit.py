"""The diffusion transformer."""

import pytest
import torch

from diffusion.backbones import DenoiserConfig, LatentShape
from diffusion.backbones.dit import PRESETS, DiT, DiTConfig, position_features, rotary_features, rotate

MODERN = {"norm": "rms", "mlp": "swiglu", "rotary": True, "qk_norm": True}


def build(shape: LatentShape = (4, 4, 6), **settings: object) -> DiT:
    torch.manual_seed(0)
    tree = {"kind": "dit", "depth": 2, "width": 32, "heads": 4} | settings
    return DenoiserConfig.parse(tree).build(latent_shape=shape, num_classes=3).eval()


def randomize(model: DiT) -> DiT:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def batch(shape: LatentShape = (4, 4, 6)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, *shape, generator=generator), torch.tensor([0.1, 0.5, 1.0]), torch.tensor([0, 2, 3])


@pytest.mark.parametrize("settings", [{}, MODERN])
@pytest.mark.parametrize("patch", [1, 2])
def test_adaln_zero_starts_at_zero_and_every_parameter_can_move(
    patch: int, settings: dict[str, object]
) -> None:
    model = build(patch=patch, **settings)
    z_t, t, y = batch()
    assert torch.equal(model(z_t, t, y), torch.zeros_like(z_t))
    randomize(model)(z_t, t, y).square().sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_at_the_start_every_block_is_the_identity() -> None:
    block = build().blocks[0]
    x, c = torch.randn(2, 24, 32), torch.randn(2, 32)
    assert torch.equal(block(x, c), x)


@pytest.mark.parametrize("settings", [{}, MODERN])
@torch.no_grad()
def test_samples_do_not_see_each_other_and_conditions_matter(settings: dict[str, object]) -> None:
    model = randomize(build(**settings))
    z_t, t, y = batch()
    out = model(z_t, t, y)
    z_other, t_other, y_other = z_t.clone(), t.clone(), y.clone()
    z_other[1:], t_other[1:], y_other[1:] = 0, 0.9, 1
    assert torch.equal(model(z_other, t_other, y_other)[0], out[0])
    for changed in (model(z_t, t + 0.05, y), model(z_t, t, (y + 1) % 4)):
        assert ((changed - out).abs().flatten(1).amax(1) > 1e-4).all()


@pytest.mark.parametrize("settings", [{}, MODERN])
@torch.no_grad()
def test_positions_tell_transposed_grids_apart(settings: dict[str, object]) -> None:
    """Without positions the network would commute with a permutation of the tokens."""
    model = randomize(build((4, 4, 4), **settings))
    z_t, t, y = batch((4, 4, 4))
    assert not torch.allclose(model(z_t.mT, t, y).mT, model(z_t, t, y), atol=1e-3)


@pytest.mark.parametrize("settings", [{}, MODERN, {"patch": 2}])
def test_a_row_of_tokens_is_a_grid_of_one_axis(settings: dict[str, object]) -> None:
    """Every parameter can move, and places in the row are told apart: turned around, it is another row."""
    model = randomize(build((4, 6), **settings))
    z_t, t, y = batch((4, 6))
    v = model(z_t, t, y)
    assert v.shape == z_t.shape
    assert not torch.allclose(model(z_t.flip(-1), t, y).flip(-1), v, atol=1e-3)
    v.square().sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []
    with pytest.raises(ValueError, match=r"takes latents of \(4, 6\), got \(4, 5\)"):
        model(z_t[..., :5], t, y)


def test_positions_of_a_row_use_the_whole_width() -> None:
    features = position_features((7,), 16)
    assert features.shape == (7, 16)
    assert torch.allclose(features.square().sum(1), torch.full((7,), 8.0))
    assert float(torch.cdist(features, features).fill_diagonal_(9).min()) > 0.1
    assert rotary_features((7,), 8).shape == (7, 4)


def test_presets_have_the_sizes_of_the_paper() -> None:
    """DiT/2 on 4 channels and 1000 classes: 33, 130, 458 and 675 million parameters, as published."""
    millions = {}
    for name in PRESETS:
        with torch.device("meta"):
            model = DiTConfig.parse({"preset": name, "patch": 2, "out_channels": 8}).build(
                latent_shape=(4, 32, 32), num_classes=1000
            )
        millions[name] = round(sum(parameter.numel() for parameter in model.parameters()) / 1e6)
    assert millions == {"S": 33, "B": 130, "L": 458, "XL": 675}


def test_a_preset_is_filled_in_and_survives_a_round_trip() -> None:
    config = DiTConfig.parse({"preset": "S", "depth": 3})
    assert (config.depth, config.width, config.heads) == (3, 384, 6)
    assert DiTConfig.parse(config.model_dump(mode="json")) == config
    with pytest.raises(ValueError, match="depth"):
        DiTConfig.parse({"kind": "dit"})
    with pytest.raises(ValueError, match="preset"):
        DiTConfig.parse({"preset": "M", "depth": 1, "width": 8, "heads": 2})


def test_positions_are_distinct_and_bounded() -> None:
    features = position_features((3, 5), 16)
    assert features.shape == (15, 16)
    assert float(torch.cdist(features, features).fill_diagonal_(9).min()) > 0.1
    assert torch.allclose(features.square().sum(1), torch.full((15,), 8.0))  # 8 pairs sin^2 + cos^2


def test_rotation_keeps_lengths_and_depends_on_differences_only() -> None:
    angles = rotary_features((4, 4), 8)
    q, k = torch.randn(8), torch.randn(8)
    turned_q = rotate(q.expand(1, 1, 16, 8), angles)[0, 0]
    turned_k = rotate(k.expand(1, 1, 16, 8), angles)[0, 0]
    assert torch.allclose(turned_q.norm(dim=1), q.norm().expand(16), atol=1e-5)
    scores = (turned_q @ turned_k.T).view(4, 4, 4, 4)
    assert torch.allclose(scores[0, 0, 1, 2], scores[2, 1, 3, 3], atol=1e-5)
    assert not torch.allclose(scores[0, 0, 1, 2], scores[0, 0, 2, 1], atol=1e-3)


@pytest.mark.parametrize("settings", [{}, MODERN])
def test_bfloat16_and_autocast_follow_float32(settings: dict[str, object]) -> None:
    model = randomize(build(**settings))
    z_t, t, y = batch()
    with torch.no_grad():
        exact = model(z_t, t, y)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(z_t, t, y)
        half = model.bfloat16()(z_t, t, y)
    assert mixed.dtype == half.dtype == torch.float32  # as z_t
    span = float(exact.max() - exact.min())
    assert float((mixed - exact).abs().max()) < 0.05 * span
    assert float((half - exact).abs().max()) < 0.05 * span


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="patch 3 does not divide"):
        build(patch=3)
    with pytest.raises(ValueError, match="multiple of 4 and of heads"):
        build(heads=5)
    with pytest.raises(ValueError, match=r"takes latents of \(4, 4, 6\), got \(4, 6, 4\)"):
        build()(torch.zeros(1, 4, 6, 4), torch.zeros(1), torch.zeros(1, dtype=torch.long))
