"""A member's numbers against what they mean, on a random tokenizer."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from eval.compare.measuring import measure, num_tokens
from eval.compare.pictures import HeldOut
from eval.compare.settings import CompareConfig
from eval.compare.training import Trained
from eval.measures.patch_frechet import patch_frechet
from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from tokenizer.config import TokenizerConfig
from tokenizer.core.checkpoint import save_folder
from tokenizer.loading import load
from tokenizer.spec import PartSpec

CPU = torch.device("cpu")
Make = Callable[..., CompareConfig]


def trained(folder: Path) -> Trained:
    return Trained(folder, images=64, seconds=2.0, images_per_s=32.0)


def test_a_continuous_latent(config: Make, tokenizer_folder: Path) -> None:
    settings = config(metrics=["psnr", "lpips_vgg"])
    held_out = HeldOut.read(settings)
    found = measure(trained(tokenizer_folder), settings, held_out, CPU)
    values = found.numbers.values
    tokenizer = load(tokenizer_folder)
    with torch.inference_mode():
        latent = tokenizer.encode(from_uint8(held_out.real))
        fake = to_uint8(tokenizer.decode(latent))
    psnr = decibels(mean_squared_error(held_out.real, fake)).mean()
    assert float(psnr) - 0.15 <= values["psnr"] <= float(psnr) + 0.05  # what rounding may cost
    assert found.shown.shape == (2, 3, 32, 32)
    depth = values["bits_per_value"]
    assert depth in range(1, 17)
    assert (found.bits, values["bits_per_pixel"], values["tokens"]) == (4 * 64 * depth, depth / 4, 64)
    raw = tokenizer.spec.denormalize(latent.z)
    assert values["latent_rms"] == pytest.approx(float(raw.square().mean().sqrt()), rel=1e-4)
    assert values["parameters"] == sum(parameter.numel() for parameter in tokenizer.parameters())
    assert values["gflops"] > 0
    assert (values["training_images_per_s"], values["images"]) == (32.0, 64)
    assert {"equivariance_rot90", "psnr_scale", "prefix_half", "prefix_quarter", "sharpness"} <= values.keys()
    assert not {"codebook_use", "codebook_size"} & values.keys()
    assert "vgg16" in found.numbers.missing["lpips_vgg"]


def test_a_discrete_latent(config: Make, tmp_path: Path, presets: Path) -> None:
    tree = yaml.safe_load((presets / "micro_fsq.yaml").read_text())["model"]
    parts = TokenizerConfig.parse(tree)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = parts.build()
    spec = model.spec.with_statistics({"z": ([0.0] * 4, [1.0] * 4)})
    record = {"format": 1, "kind": "tokenizer", "model": tree, "spec": spec.model_dump(mode="json")}
    save_folder(tmp_path / "fsq", record, {"model": model.state_dict()})
    settings = config(metrics=["psnr"])
    held_out = HeldOut.read(settings)
    values = measure(trained(tmp_path / "fsq"), settings, held_out, CPU).numbers.values
    tokenizer = load(tmp_path / "fsq")
    latent = tokenizer.encode(from_uint8(held_out.real))
    made = to_uint8(tokenizer.decode(latent))
    assert values["frechet_patches"] == pytest.approx(patch_frechet(held_out.real, made).mean, rel=1e-2)
    indices = latent.indices["z"]
    counts = torch.bincount(indices.flatten(), minlength=180).double()
    share = counts / counts.sum()
    assert (values["codebook_size"], values["codebooks"]) == (180, 1)
    assert values["codebook_use"] == pytest.approx(int((counts > 0).sum()) / 180)
    assert values["codebook_perplexity"] == pytest.approx(float((-torch.xlogy(share, share).sum()).exp()))
    assert "prefix_half" not in values


def test_tokens_of_scales_are_all_of_them() -> None:
    flat = PartSpec(channels=8, spatial_factor=8, codebook_size=32)
    several = PartSpec(channels=8, spatial_factor=8, codebook_size=32, num_codebooks=4)
    scales = PartSpec(channels=8, spatial_factor=8, codebook_size=32, scales=(1, 2, 4, 8))
    assert num_tokens(flat, (64, 64)) == num_tokens(several, (64, 64)) == 64
    assert num_tokens(scales, (64, 64)) == 1 + 4 + 16 + 64
