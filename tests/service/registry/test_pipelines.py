"""Pipeline folders as generators, from their JSON alone; those that bring code or make something else are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from service.registry.folders import kind_of, read_model
from service.registry.pipelines import licence_of
from service.registry.served import ServedGenerator

DIT = {
    "_class_name": "DiTPipeline",
    "id2label": {"0": "tench, Tinca tinca", "1": "goldfish"},
    "scheduler": ["diffusers", "DDIMScheduler"],
    "transformer": ["diffusers", "DiTTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
SANA = {
    "_class_name": "SanaPipeline",
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    "text_encoder": ["transformers", "Gemma2Model"],
    "tokenizer": ["transformers", "GemmaTokenizerFast"],
    "transformer": ["diffusers", "SanaTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderDC"],
}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a folder of this index, networks of these settings, and a few bytes of weights."""

    def write(index: dict[str, Any], **configs: dict[str, Any]) -> Path:
        folder = tmp_path / "pipeline"
        folder.mkdir(exist_ok=True)
        (folder / "model_index.json").write_text(json.dumps(index))
        for name, config in configs.items():
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "config.json").write_text(json.dumps(config))
            save_file({"x": np.zeros(4, np.float32)}, folder / name / "diffusion_pytorch_model.safetensors")
        return folder

    return write


def read(folder: Path) -> ServedGenerator:
    assert kind_of(folder) == "generator"
    model = read_model("p", folder, ())
    assert isinstance(model, ServedGenerator)
    return model


def test_a_class_conditional_one_makes_one_size(write: Write) -> None:
    folder = write(
        DIT,
        transformer={"sample_size": 32, "patch_size": 2, "num_embeds_ada_norm": 1000},
        vae={"block_out_channels": [128, 256, 512, 512]},
    )
    (folder / "README.md").write_text("---\ntags:\n- x\nlicense: cc-by-nc-4.0\n---\n# DiT\n")
    model = read(folder)
    assert (model.conditioning, model.pipeline, model.tokenizer) == ("class", "DiTPipeline", None)
    assert (model.sizes, model.size_multiple) == (((256, 256),), None)
    assert (model.num_steps, model.guidance, model.takes) == (50, 4.0, {"guidance"})
    assert len(model.class_names) == 1000
    assert [model.label(name) for name in ("goldfish", "Tinca tinca", "999")] == [1, 0, 999]
    assert model.licence == "cc-by-nc-4.0"
    assert model.weights_bytes == sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def test_a_text_conditional_one_makes_multiples(write: Write) -> None:
    folder = write(
        SANA,
        transformer={"sample_size": 32, "patch_size": 1},
        vae={"encoder_block_out_channels": [8] * 6, "_class_name": "AutoencoderDC"},
        text_encoder={},
    )
    model = read(folder)
    assert (model.conditioning, model.class_names) == ("text", ())
    assert (model.sizes, model.size_multiple) == (((1024, 1024),), 32)
    assert (model.num_steps, model.guidance) == (20, 4.5)
    assert model.takes == {"guidance", "negative_prompt"}


def test_sizes_come_from_the_signature_where_the_network_states_none(write: Write) -> None:
    cascade = SANA | {"_class_name": "StableDiffusionPanoramaPipeline"}
    model = read(write(cascade, transformer={}, vae={"block_out_channels": [8] * 4}))
    assert (model.sizes, model.size_multiple) == (((512, 2048),), 16)


def test_the_identity_follows_the_weights(write: Write) -> None:
    configs = {
        "transformer": {"sample_size": 8, "num_embeds_ada_norm": 4},
        "vae": {"block_out_channels": [8, 8]},
    }
    folder = write(DIT, **configs)
    before = read(folder).spec_id
    assert read(folder).spec_id == before
    save_file({"x": np.ones(4, np.float32)}, folder / "vae" / "diffusion_pytorch_model.safetensors")
    assert read(folder).spec_id != before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"_class_name": "DDPMPipeline"}, "takes no class_labels"),
        ({"_class_name": "StableDiffusionImg2ImgPipeline"}, "takes no height|strength"),
        ({"_class_name": "WanPipeline"}, "num_frames"),
        ({"_class_name": "SomethingPipeline"}, "no pipeline"),
        ({"_class_name": ["code", "MyPipeline"]}, "code of their own"),
        ({"_class_name": None}, "code of their own"),
        ({"vae": ["os", "system"]}, "only classes of diffusers"),
        ({"vae": ["mymodule", "VAE"]}, "only classes of diffusers"),
        ({"vae": ["diffusers", "AutoencoderKL", "x"]}, "only classes of diffusers"),
        ({"../../x": ["diffusers", "AutoencoderKL"]}, "only classes of diffusers"),
    ],
)
def test_what_is_not_served(write: Write, changes: dict[str, Any], reason: str) -> None:
    folder = write(DIT | changes, transformer={"sample_size": 8}, vae={"block_out_channels": [8, 8]})
    with pytest.raises(ValueError, match=reason):
        read(folder)


def test_code_pickles_and_linked_folders_are_refused(write: Write, tmp_path: Path) -> None:
    folder = write(DIT, transformer={"sample_size": 8}, vae={"block_out_channels": [8, 8]})
    (folder / "vae" / "modeling.py").touch()
    with pytest.raises(ValueError, match=r"vae/modeling\.py"):
        read(folder)
    (folder / "vae" / "modeling.py").unlink()
    (folder / "vae").rename(tmp_path / "elsewhere")
    (folder / "vae").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="link to a folder"):
        read(folder)
    (folder / "vae").unlink()
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(ValueError, match="never read"):
        read(folder)


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"_class_name": "DiTPipeline"}'])
def test_damaged_indices_are_told(write: Write, text: str) -> None:
    folder = write(DIT, transformer={}, vae={})
    (folder / "model_index.json").write_text(text)
    with pytest.raises(ValueError, match=r"model_index|sample_size"):
        read(folder)


def test_a_licence_is_read_from_a_model_card_only(tmp_path: Path) -> None:
    assert licence_of(tmp_path) is None
    (tmp_path / "README.md").write_text("license: mit\n")
    assert licence_of(tmp_path) is None
