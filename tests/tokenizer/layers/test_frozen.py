"""Frozen encoders: what their library computes, on the grid that is asked for, without gradient, from local files."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode  # documented under "Fake tensor", kept in this place
from torch.nn import functional as F

from tokenizer.core import checkpoint
from tokenizer.layers.frozen import FrozenConfig, norm_of
from tokenizer.layers.plain_vit import PlainViTSize

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small encoders of random weights, as transformers, timm and our command write theirs."""
    import transformers

    root = tmp_path_factory.mktemp("frozen")
    torch.manual_seed(0)
    dinov2 = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, patch_size=4, image_size=16
    )
    transformers.Dinov2Model(dinov2).save_pretrained(root / "dinov2")
    vision = SMALL | {"patch_size": 4, "image_size": 16}
    siglip = transformers.SiglipVisionConfig(**vision)
    transformers.SiglipVisionModel(siglip).save_pretrained(root / "siglip")
    clip = transformers.CLIPConfig(
        text_config=SMALL | {"vocab_size": 32}, vision_config=vision, projection_dim=8
    )
    transformers.CLIPModel(clip).save_pretrained(root / "clip")
    save_file(timm.create_model("test_vit").state_dict(), root / "vit.safetensors")
    size = PlainViTSize(width=16, patch=4, depth=1, heads=2)
    tree = {"size": size.model_dump(mode="json"), "num_classes": 3}
    checkpoint.save_folder(root / "ours", tree, {"model": size.build(3).state_dict()})
    return {file.stem: file for file in root.iterdir()}


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1


def settings(folders: dict[str, Path], name: str) -> FrozenConfig:
    if name == "vit":
        return FrozenConfig(library="timm", network="test_vit", weights=folders["vit"])
    if name == "random":
        return FrozenConfig(library="random", channels=16, patch=4, depth=1)
    return FrozenConfig(library="ours" if name == "ours" else "transformers", folder=folders[name])


@pytest.mark.parametrize("name", ["dinov2", "siglip", "clip", "vit", "ours", "random"])
def test_any_grid_of_any_picture_has_features_without_gradient(
    folders: dict[str, Path], x: Tensor, name: str
) -> None:
    frozen = settings(folders, name).open()
    for grid in ((3, 5), (4, 4)):
        pixels = x.clone().requires_grad_()
        features = frozen(pixels, grid)
        assert features.shape == (2, frozen.channels, *grid)
        assert features.dtype == torch.float32
        assert not features.requires_grad
        assert torch.isfinite(features).all()
        assert torch.equal(features, frozen(x, grid))
    assert len(frozen.sha256()) == 32


def test_features_are_those_of_transformers(folders: dict[str, Path], x: Tensor) -> None:
    from transformers import Dinov2Model

    model = Dinov2Model.from_pretrained(folders["dinov2"]).eval()
    frozen = settings(folders, "dinov2").open()
    sides = (4 * frozen.patch, 4 * frozen.patch)
    pixels = F.interpolate(x, size=sides, mode="bicubic", antialias=True) * 0.5 + 0.5
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in norm_of(folders["dinov2"]))
    with torch.no_grad():
        out = model((pixels - mean) / std, output_hidden_states=True)
    want = out.last_hidden_state[:, 1:].transpose(1, 2).reshape(2, 16, 4, 4)
    torch.testing.assert_close(frozen(x, (4, 4)), want)
    before = FrozenConfig(folder=folders["dinov2"], layer=-2).open()(x, (4, 4))
    want = out.hidden_states[-2][:, 1:].transpose(1, 2).reshape(2, 16, 4, 4)
    torch.testing.assert_close(before, want)


def test_features_are_those_of_timm(folders: dict[str, Path], x: Tensor) -> None:
    config = settings(folders, "vit")
    frozen = config.open()
    model = timm.create_model("test_vit", dynamic_img_size=True).eval()
    from tokenizer.core.weights import load_weights

    model.load_state_dict(load_weights(folders["vit"]))
    pixels = F.interpolate(x, size=(32, 32), mode="bicubic", antialias=True) * 0.5 + 0.5
    cfg = model.pretrained_cfg
    mean, std = (torch.tensor(cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        want = model.forward_features((pixels - mean) / std)[:, model.num_prefix_tokens :]
    torch.testing.assert_close(frozen(x, (2, 2)), want.transpose(1, 2).reshape(2, -1, 2, 2))
    last = config.model_copy(update={"layer": 0}).open()(x, (2, 2))
    assert last.shape == (2, frozen.channels, 2, 2)


def test_pixels_are_normalised_as_the_folder_says(folders: dict[str, Path], tmp_path: Path) -> None:
    assert norm_of(folders["siglip"])[0] == (0.5, 0.5, 0.5)
    assert norm_of(folders["clip"])[0][0] == pytest.approx(0.48145466)
    assert norm_of(folders["dinov2"])[0][0] == pytest.approx(0.485)
    (tmp_path / "config.json").write_text("{}")
    tree = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(tree))
    assert norm_of(tmp_path) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


def test_two_pictures_and_two_encoders_differ(folders: dict[str, Path], x: Tensor) -> None:
    one, two = (FrozenConfig(library="random", channels=16, patch=4, seed=seed).open() for seed in (0, 1))
    assert not torch.allclose(one(x, (4, 4)), two(x, (4, 4)))
    assert not torch.allclose(one(x[:1], (4, 4)), one(x[1:], (4, 4)))
    assert one.sha256() != two.sha256()


def test_where_tensors_have_no_values_no_file_is_needed() -> None:
    config = FrozenConfig(library="transformers", channels=16, patch=4)
    with FakeTensorMode():
        assert config.open()(torch.empty(2, 3, 8, 8), (2, 2)).shape == (2, 16, 2, 2)
    with torch.device("meta"):
        assert config.open()(torch.empty(2, 3, 8, 8), (2, 2)).is_meta


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            {},
            r"downloads nothing: put config.json and model.safetensors .*dinov2-base.* frozen.folder=FOLDER$",
        ),
        ({"folder": "nowhere"}, "nowhere lacks config.json or model.safetensors"),
        ({"library": "timm"}, "frozen.network=NAME"),
        ({"library": "timm", "network": "test_vit"}, "huggingface.co/timm/test_vit .* frozen.weights=FILE"),
        ({"library": "ours"}, "python -m tokenizer.teacher data.path=PICTURES out=FOLDER"),
        ({"library": "random"}, "needs channels and patch"),
        ({"library": "ours", "layer": 1}, "layer is for encoders of transformers and timm"),
    ],
)
def test_mistakes_say_what_to_put_where(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenConfig.parse(tree).open()


def test_sizes_that_disagree_with_the_files_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"frozen.channels is 16 in the encoder's files, not 768"):
        FrozenConfig(folder=folders["dinov2"], channels=768).open()
    with torch.device("meta"), pytest.raises(ValueError, match=r"frozen.patch is not known without"):
        FrozenConfig(channels=768).open()
