"""A video tokenizer grown from an image tokenizer: still frames come out the same, and moving ones already differ."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.inflate import difference, inflated, main
from tokenizer.loading import load
from tokenizer.model import Autoencoder

KL: dict[str, Any] = {
    "backbone": {
        "kind": "kl",
        "latent_channels": 4,
        "widths": [8, 8, 16],
        "norm_groups": 4,
        "blocks_per_level": 1,
    },
    "bottleneck": {"kind": "kl"},
}
STATISTICS = ([0.5, -1.0, 0.25, 2.0], [0.5, 1.0, 2.0, 4.0])


def built(tree: dict[str, Any]) -> tuple[Autoencoder, TokenizerConfig]:
    torch.manual_seed(0)
    config = TokenizerConfig.parse(tree)
    model = config.build().eval().requires_grad_(False)
    model.spec = model.spec.with_statistics({"z": STATISTICS})
    return model, config


@pytest.mark.parametrize("levels", [[], [0], [0, 1]])
def test_still_frames_come_out_as_pictures_do(levels: list[int]) -> None:
    image, config = built(KL)
    video = inflated(image.double(), config, levels).double()
    x = torch.rand(2, 3, 16, 8, dtype=torch.float64) * 2 - 1
    assert difference(image, video, x) <= 1e-10
    assert torch.allclose(video.encode(x).z[:, :, 0], image.encode(x).z, atol=1e-10)
    assert video.spec.z.mean == image.spec.z.mean


def test_the_command_writes_a_video_tokenizer_to_start_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, config = built(KL)
    about = {
        "kind": "tokenizer",
        "model": config.model_dump(mode="json"),
        "spec": image.spec.model_dump(mode="json"),
        "licence": "CC0-1.0",
    }
    checkpoint.save_folder(tmp_path / "image", about, {"model": image.state_dict()})
    main([f"source={tmp_path / 'image'}", "time_levels=[1]", f"out={tmp_path / 'video'}"])
    assert "still frames come out as pictures did" in capsys.readouterr().out
    video = load(str(tmp_path / "video"))
    assert video.spec.time == "causal"
    x = torch.rand(1, 3, 5, 16, 16)
    assert video.decode(video.encode(x)).shape == x.shape
    with pytest.raises(SystemExit):
        main([f"source={tmp_path / 'image'}", f"out={tmp_path / 'video'}"])
    assert "exists: remove it first" in capsys.readouterr().err


def test_backbones_without_a_counterpart_are_refused(tiny_config: TokenizerConfig) -> None:
    with pytest.raises(ValueError, match="backbone dcae cannot be inflated"):
        inflated(tiny_config.build(), tiny_config, [0])
    model, config = built(KL | {"backbone": KL["backbone"] | {"encoder_attention": [1]}})
    with pytest.raises(ValueError, match="no counterpart"):
        inflated(model, config, [0])
