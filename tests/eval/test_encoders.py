"""DINOv2 and CLIP against transformers' networks of the same random weights, and what goes into them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model

from eval import encoders
from eval.encoders import clip_names, load_clip, load_dinov2, positions_at
from eval.errors import NotComputedError
from eval.weights import WeightsConfig

CPU = torch.device("cpu")
SIZE = (64, 2)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "DINOV2_SIZE", SIZE)
    monkeypatch.setattr(encoders, "CLIP_SIZE", SIZE)


def pictures(seed: int = 0, side: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, 3, side, side), generator=generator, dtype=torch.uint8)


def dinov2(grid: int) -> tuple[Dinov2Model, dict[str, Tensor]]:
    """Transformers' network, and its tensors under the names of the published file."""
    torch.manual_seed(0)
    model = Dinov2Model(
        Dinov2Config(hidden_size=64, num_hidden_layers=2, num_attention_heads=1, image_size=14 * grid)
    ).eval()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.3)
    state = model.state_dict()
    named = {
        "cls_token": state["embeddings.cls_token"],
        "mask_token": state["embeddings.mask_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        "norm.weight": state["layernorm.weight"],
        "norm.bias": state["layernorm.bias"],
    }
    for kind in ("weight", "bias"):
        named[f"patch_embed.proj.{kind}"] = state[f"embeddings.patch_embeddings.projection.{kind}"]
        for block in range(2):
            theirs, ours = f"encoder.layer.{block}", f"blocks.{block}"
            parts = [state[f"{theirs}.attention.{part}_proj.{kind}"] for part in "qkv"]
            named[f"{ours}.attn.qkv.{kind}"] = torch.cat(parts)
            named[f"{ours}.attn.proj.{kind}"] = state[f"{theirs}.attention.o_proj.{kind}"]
            for number in (1, 2):
                named[f"{ours}.norm{number}.{kind}"] = state[f"{theirs}.norm{number}.{kind}"]
                named[f"{ours}.mlp.fc{number}.{kind}"] = state[f"{theirs}.mlp.fc{number}.{kind}"]
                named[f"{ours}.ls{number}.gamma"] = state[f"{theirs}.layer_scale{number}.lambda1"]
    return model, {name: value.detach().clone() for name, value in named.items()}


def test_dinov2_is_the_class_token_of_the_published_network(tmp_path: Path) -> None:
    model, named = dinov2(grid=16)
    path = tmp_path / "dinov2_vitl14_pretrain.pth"
    torch.save(named, path)
    encoder = load_dinov2(WeightsConfig(folder=tmp_path), CPU)
    x = torch.nn.functional.interpolate(pictures().float(), size=(224, 224), mode="bicubic", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.inference_mode():
        expected = model(x).last_hidden_state[:, 0]
    made = encoder(pictures())
    assert made.shape == (2, 64)
    assert (expected[0] - expected[1]).abs().max() > 0.01  # features that say something of the pictures
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-4)
    assert not encoder.record.verified  # nobody published a hash
    assert load_dinov2(WeightsConfig(folder=tmp_path), CPU) is encoder
    by_pil = load_dinov2(WeightsConfig(dinov2=path), CPU, "pil_bicubic_224")(pictures())
    assert 1e-5 < (by_pil - made).abs().max() < 0.5 * made.abs().max()
    with pytest.raises(ValueError, match="uint8"):
        encoder(pictures().float())


def test_positions_are_resized_as_the_published_code_does() -> None:
    """By a scale of (16 + 0.1) / 37: neither by size, as transformers, nor with antialiasing, as timm."""
    table = torch.randn(1, 1 + 37 * 37, 8, generator=torch.Generator().manual_seed(0))
    made = positions_at(table, 16)
    assert made.shape == (1, 257, 8)
    assert torch.equal(made[:, :1], table[:, :1])
    grid = table[:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    for antialias in (False, True):
        other = torch.nn.functional.interpolate(grid, size=(16, 16), mode="bicubic", antialias=antialias)
        assert (other.permute(0, 2, 3, 1).reshape(1, 256, 8) - made[:, 1:]).abs().max() > 0.05
    # from the definition: output i samples at (i + 0.5) * 37 / 16.1 - 0.5, cubic with a = -0.75
    line = table[0, 1:].reshape(37, 37, 8)
    place = (7 + 0.5) * 37 / 16.1 - 0.5
    weights = torch.zeros(37, dtype=torch.float64)
    for tap in range(int(place) - 1, int(place) + 3):
        d = abs(place - tap)
        a = -0.75
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        weights[tap] = near if d <= 1 else a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    expected = torch.einsum("i,j,ijd->d", weights, weights, line.double())
    torch.testing.assert_close(made[0, 1 + 7 * 16 + 7].double(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(positions_at(made, 16), made)


def clip() -> CLIPVisionModelWithProjection:
    torch.manual_seed(1)
    model = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=1,
            image_size=336,
            patch_size=14,
            projection_dim=24,
        )
    ).eval()
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return model


def openai_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Transformers' tensors as OpenAI's file names them, in half precision as it holds them."""
    named = {
        "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
        "visual.proj": state["visual_projection.weight"].T,
        "logit_scale": torch.tensor(1.0),
        "transformer.resblocks.0.ln_1.weight": torch.zeros(3),
    }
    for kind in ("weight", "bias"):
        named[f"visual.ln_pre.{kind}"] = state[f"vision_model.pre_layrnorm.{kind}"]
        named[f"visual.ln_post.{kind}"] = state[f"vision_model.post_layernorm.{kind}"]
        for block in range(2):
            theirs, ours = f"vision_model.encoder.layers.{block}", f"visual.transformer.resblocks.{block}"
            parts = [state[f"{theirs}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            named[f"{ours}.attn.in_proj_{kind}"] = torch.cat(parts)
            named[f"{ours}.attn.out_proj.{kind}"] = state[f"{theirs}.self_attn.out_proj.{kind}"]
            named[f"{ours}.mlp.c_fc.{kind}"] = state[f"{theirs}.mlp.fc1.{kind}"]
            named[f"{ours}.mlp.c_proj.{kind}"] = state[f"{theirs}.mlp.fc2.{kind}"]
            for number in (1, 2):
                named[f"{ours}.ln_{number}.{kind}"] = state[f"{theirs}.layer_norm{number}.{kind}"]
    return named


def test_clip_is_transformers_and_openais(tmp_path: Path) -> None:
    model = clip()
    state = {
        name: value.contiguous() for name, value in model.state_dict().items() if value.is_floating_point()
    }
    path = tmp_path / "model.safetensors"
    save_file(state, path)
    made = load_clip(WeightsConfig(clip=path), CPU)(pictures())
    sized = [
        np.asarray(Image.fromarray(x.permute(1, 2, 0).numpy()).resize((336, 336), Image.Resampling.BICUBIC))
        for x in pictures()
    ]
    x = torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.inference_mode():
        expected = model((x - mean) / std).image_embeds
    expected = expected / expected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-4)
    assert made.norm(dim=1).tolist() == pytest.approx([1.0, 1.0])
    from_openai, from_transformers = clip_names(openai_names(state)), clip_names(state)
    assert from_openai.keys() == from_transformers.keys()
    assert all(torch.equal(from_openai[name], from_transformers[name]) for name in from_openai)


@pytest.mark.parametrize("load", [load_dinov2, load_clip])
def test_missing_and_wrong_files(load: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "dinov2" if load is load_dinov2 else "clip"
    assert callable(load)
    with pytest.raises(NotComputedError, match=f"weights.{name}=FILE"):
        load(WeightsConfig(folder=tmp_path), CPU)
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="does not hold"):
        load(WeightsConfig.parse({name: path}), CPU)
    monkeypatch.setattr(encoders, f"{name.upper()}_SIZE", (1024, 24))
    tensors = dinov2(16)[1] if name == "dinov2" else dict(clip().state_dict())
    save_file({key: value.contiguous() for key, value in tensors.items()}, tmp_path / "small.safetensors")
    with pytest.raises(ValueError, match="width 64 and depth 2: the metric is of 1024 and 24"):
        load(WeightsConfig.parse({name: tmp_path / "small.safetensors"}), CPU)
