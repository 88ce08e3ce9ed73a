"""A tokenizer cut to its first channels is the whole one with the others at 0, and a tokenizer like any other."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tokenizer.conftest import BACKBONE
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.loading import load
from tokenizer.model import Autoencoder
from tokenizer.slice import SliceConfig, difference, main, sliced

FREE = BACKBONE | {"encoder_out_shortcut": False, "decoder_in_shortcut": False}
KL: dict[str, Any] = {"kind": "kl", "widths": [8, 16], "norm_groups": 4, "blocks_per_level": 1}
STATISTICS = ([0.5, -1.0, 0.25, 2.0], [0.5, 1.0, 2.0, 4.0])


def built(tree: dict[str, Any]) -> tuple[Autoencoder, TokenizerConfig]:
    torch.manual_seed(0)
    config = TokenizerConfig.parse(tree)
    model = config.build().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.normal_()
    model.spec = model.spec.with_statistics({"z": STATISTICS})
    return model, config


def saved(tree: dict[str, Any], folder: Path) -> Path:
    model, config = built(tree)
    settings = {
        "kind": "tokenizer",
        "model": config.model_dump(mode="json"),
        "spec": model.spec.model_dump(mode="json"),
        "licence": "CC0-1.0",
    }
    checkpoint.save_folder(folder, settings, {"model": model.state_dict()})
    return folder


@pytest.mark.parametrize(
    "tree",
    [
        {"backbone": FREE},
        {
            "backbone": KL | {"quant_conv": False, "post_quant_conv": False},
            "bottleneck": {"kind": "kl"},
        },
    ],
    ids=["dcae", "kl"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_cut_model_is_the_whole_one_masked(tree: dict[str, Any], channels: int) -> None:
    whole, config = built(tree)
    cut = sliced(whole, config, channels)
    x = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert difference(whole, cut, x) <= 1e-6
    assert cut.spec.z.mean == STATISTICS[0][:channels] or cut.spec.z.mean == tuple(STATISTICS[0][:channels])
    assert cut.spec.z.std == tuple(STATISTICS[1][:channels])
    latent = cut.encode(x)
    assert torch.allclose(latent.z, whole.encode(x).z[:, :channels], atol=1e-5)
    other = built(tree)[0]
    with torch.no_grad():
        other.decoder.get_parameter(f"{config.backbone.latent_layers()[1]}.weight")[:, :1] *= 1.01  # type: ignore[union-attr]
    assert difference(other, cut, x) > 1e-5  # the comparison sees a small change


def test_the_command_writes_a_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = saved({"backbone": FREE}, tmp_path / "whole"), tmp_path / "cut"
    main([f"source={source}", "channels=2", f"out={out}"])
    assert "the first 2 channels" in capsys.readouterr().out
    cut = load(out)
    assert cut.spec.z.channels == 2
    assert cut.spec.has_statistics
    assert cut.spec_id
    assert cut.spec_id != load(source).spec_id
    config = checkpoint.read_config(out)
    assert config["licence"] == "CC0-1.0"
    assert config["sliced_from"] == load(source).spec_id
    x = torch.rand(1, 3, 18, 13) * 2 - 1  # any size
    assert cut.decode(cut.encode(x)).shape == x.shape
    with pytest.raises(SystemExit):
        main([f"source={source}", "channels=2", f"out={out}"])
    assert "exists" in capsys.readouterr().err


def test_ends_that_cannot_be_cut_are_refused_in_one_sentence(tmp_path: Path) -> None:
    for tree, message in (
        ({"backbone": BACKBONE}, "encoder_out_shortcut and decoder_in_shortcut"),
        ({"backbone": KL, "bottleneck": {"kind": "kl"}}, "quant_conv"),
        ({"backbone": FREE, "bottleneck": {"kind": "fsq", "levels": [8, 8, 8, 8]}}, "bottleneck fsq"),
    ):
        whole, config = built(tree)
        with pytest.raises(ValueError, match=message):
            sliced(whole, config, 2)


@pytest.mark.parametrize("channels", [0, 4, 9])
def test_a_count_that_is_no_slice_is_refused(channels: int) -> None:
    whole, config = built({"backbone": FREE})
    with pytest.raises(ValueError, match=r"must be 1 to 3: this tokenizer has 4"):
        sliced(whole, config, channels)


def test_sources_that_lack_what_a_cut_needs(tmp_path: Path) -> None:
    assert SliceConfig(source="demo", channels=2, out=tmp_path / "cut").channels == 2
    with pytest.raises(SystemExit):
        main(["source=demo", "channels=2", f"out={tmp_path / 'cut'}"])  # the demo has shortcuts
    assert not (tmp_path / "cut").exists()
