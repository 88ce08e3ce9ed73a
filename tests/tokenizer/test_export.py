"""An export loads with from_pretrained and gives the same output; a bad one leaves nothing behind."""

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

from tokenizer import export as export_module
from tokenizer.config import TokenizerConfig
from tokenizer.core.checkpoint import save_folder
from tokenizer.export import export, main
from tokenizer.model import Autoencoder

DC = {
    "kind": "dcae",
    "latent_channels": 8,
    "widths": (8, 16, 32),
    "encoder_depths": (0, 1, 1),
    "decoder_depths": (0, 1, 1),
    "blocks": ("res", "res", "efficientvit"),
    "decoder_norms": ("batch", "batch", "rms"),
    "decoder_activations": ("relu", "relu", "silu"),
    "head_dim": 8,
}
KL = {"kind": "kl", "latent_channels": 8, "widths": (8, 16, 16), "norm_groups": 4, "blocks_per_level": 1}
KINDS = pytest.mark.parametrize("kind", ["dcae", "kl"])


def config_of(kind: str) -> TokenizerConfig:
    parts = {"dcae": (DC, "identity"), "kl": (KL, "kl")}[kind]
    return TokenizerConfig.parse({"backbone": parts[0], "bottleneck": {"kind": parts[1]}})


def tokenizer(kind: str, mean: float = 0.0) -> Autoencoder:
    torch.manual_seed(0)
    autoencoder = config_of(kind).build().eval()
    std = [0.5 + 0.25 * channel for channel in range(8)]
    autoencoder.spec = autoencoder.spec.with_statistics({"z": ([mean] * 8, std)})
    return autoencoder


def load_theirs(folder: Path) -> nn.Module:
    name = diffusers.AutoencoderDC.load_config(folder)["_class_name"]
    loaded: nn.Module = getattr(diffusers, name).from_pretrained(folder)
    return loaded


def raw_latent(module: Any, x: torch.Tensor) -> torch.Tensor:  # untyped foreign classes
    encoded = module.encode(x)
    return encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mode()


@KINDS
def test_an_export_loads_with_from_pretrained_and_gives_the_same_output(kind: str, tmp_path: Path) -> None:
    ours = tokenizer(kind, mean=0.2)
    exported = export(ours, tmp_path / "deep" / "out")
    assert exported.difference <= 1e-5
    assert not exported.exact
    theirs = load_theirs(tmp_path / "deep" / "out")
    assert exported.name == type(theirs).__name__
    x = torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        latent = ours.encode(x)
        raw = ours.spec.denormalize(latent.z)
        torch.testing.assert_close(
            raw_latent(theirs, x), raw, rtol=0, atol=1e-5 * (raw.max() - raw.min()).item()
        )
        torch.testing.assert_close(theirs.decode(raw).sample, ours.decode(latent), rtol=0, atol=1e-5)  # type: ignore[operator]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    modes = {path.stat().st_mode for path in (tmp_path / "deep" / "out").iterdir()}
    assert len(modes) == 1  # who may read the configuration may read the weights


@pytest.mark.parametrize(("kind", "mean"), [("kl", 0.2), ("dcae", 0.0)])
def test_a_folded_export_has_our_normalised_latents(kind: str, mean: float, tmp_path: Path) -> None:
    ours = tokenizer(kind, mean)
    exported = export(ours, tmp_path / "out", latents="folded")
    assert (exported.scale, exported.shift, exported.exact) == (1.0, 0.0, True)
    x = torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        z = ours.encode(x).z
        span = (z.max() - z.min()).item()
        torch.testing.assert_close(raw_latent(load_theirs(tmp_path / "out"), x), z, rtol=0, atol=1e-5 * span)


@KINDS
def test_one_scale_for_all_channels_is_exact(kind: str, tmp_path: Path) -> None:
    ours = tokenizer(kind)
    ours.spec = ours.spec.from_convention(0.41407)
    exported = export(ours, tmp_path / "out")
    assert (exported.scale, exported.exact) == (0.41407, True)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        export(tokenizer("kl"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_failed_check_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(autoencoder: Autoencoder, *, latents: str) -> nn.Module:
        module = to_diffusers(autoencoder)
        module.get_parameter("decoder.conv_in.bias").data.add_(1.0)
        return module

    to_diffusers = export_module.to_diffusers
    monkeypatch.setattr(export_module, "to_diffusers", swapped)
    with pytest.raises(RuntimeError, match="other output"):
        export(tokenizer("dcae"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def save(kind: str, folder: Path, *, measured: bool = True) -> None:
    ours = tokenizer(kind, mean=0.1)
    spec = ours.spec if measured else ours.spec.with_statistics(None)
    config = {
        "format": 1,
        "kind": "tokenizer",
        "model": config_of(kind).model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
        "licence": None,
        "figures": None,
        "preset": None,
    }
    save_folder(folder, config, {"model": ours.state_dict()})


@KINDS
def test_the_command_exports_a_folder_and_says_how_far_apart_they_are(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(kind, tmp_path / "ours")
    main([f"source={tmp_path / 'ours'}", f"out={tmp_path / 'theirs'}"])
    out = capsys.readouterr().out
    assert "max difference" in out
    assert "8 channels" in out
    main([f"source={tmp_path / 'theirs'}", f"out={tmp_path / 'again'}"])
    out = capsys.readouterr().out
    assert "8 channels" not in out  # what diffusers can say, it can say again
    first, second = (
        (tmp_path / name / "diffusion_pytorch_model.safetensors").read_bytes() for name in ("theirs", "again")
    )
    assert first == second


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save("dcae", tmp_path / "ours", measured=False)
    with pytest.raises(SystemExit) as stop:
        main([f"source={tmp_path / 'ours'}", f"out={tmp_path / 'theirs'}"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "tokenizer.stats" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "theirs").exists()


def test_the_folder_appears_in_one_step_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Path, target: Path) -> None:
        assert (self / "config.json").is_file()
        assert not target.exists()
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(OSError, match="no space left"):
        export(tokenizer("kl"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
