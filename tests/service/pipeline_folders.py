"""Tiny pipelines of diffusers with random weights, in folders as ``save_pretrained`` writes them."""

import json
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from service.engine.messages import ModelSource
from service.registry import Registry
from service.registry.folders import read_model
from tests.tokenizer.adapters.diffusers.parity import dc, kl, randomize

NUM_CLASSES = 1000  # DiTPipeline takes this number for "no class", whatever its network has
WORDS = ("<pad>", "<unk>", "<bos>", "<eos>", "a", "red", "fox", "blue", "house", "long", "text", "of", "many")
NAMES = {"0": "tench, Tinca tinca", "1": "goldfish", "2": "great white shark"}


def make_dit(folder: Path, scheduler: str = "DDIMScheduler") -> Path:
    """A DiTPipeline of 32x32 pixels."""
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,  # with the variance, as published
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=NUM_CLASSES,
        norm_elementwise_affine=False,
    )
    pipeline = diffusers.DiTPipeline(
        transformer=randomize(transformer, 1), vae=kl(), scheduler=getattr(diffusers, scheduler)()
    )
    pipeline.save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"id2label": NAMES}))
    return folder


def make_words() -> Any:
    """A tokenizer of a few words; skips the test where transformers is missing."""
    transformers = pytest.importorskip("transformers", reason="pipelines of texts need transformers")
    tokenizers = pytest.importorskip("tokenizers", reason="pipelines of texts need tokenizers")
    model = tokenizers.models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>")
    words_only = tokenizers.Tokenizer(model)
    words_only.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words_only,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
    )


def make_sana(folder: Path) -> Path:
    """A SanaPipeline whose own size is 32x32 pixels; skips the test where transformers is missing."""
    tokenizer = make_words()
    import transformers

    torch.manual_seed(5)
    config = transformers.Gemma2Config(
        vocab_size=len(WORDS),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=2048,
        attn_implementation="eager",
    )
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=8,
        sample_size=8,
    )
    pipeline = diffusers.SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=transformers.Gemma2Model(config).eval(),
        vae=dc(encoder_layers_per_block=(0, 1, 1), decoder_layers_per_block=(0, 1, 1)),
        transformer=randomize(transformer, 2),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    pipeline.save_pretrained(folder)
    return folder


def source(folder: Path, name: str = "p") -> ModelSource:
    """What the worker is told of a folder."""
    registry = Registry({}, {})
    return registry.source(registry.add(read_model(name, folder, ())))


def direct(folder: Path, **arguments: Any) -> torch.Tensor:
    """uint8 (B, H, W, 3) of the pipeline called as diffusers means it to be, one generator a picture."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(str(folder), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    seeds = arguments.pop("seeds")
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    images = pipeline(generator=generators, output_type="np", **arguments).images
    return torch.from_numpy((images * 255).round().astype("uint8"))
