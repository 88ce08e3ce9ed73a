"""A glance at a tokenizer in training."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tokenizer.config import TokenizerConfig
from tokenizer.preview import preview, psnr
from tokenizer.stats import StatsData


def test_psnr_of_a_known_error_with_the_reconstruction_clamped() -> None:
    x = torch.zeros(2, 3, 4, 4)
    x[1] = 1.0
    x_hat = torch.stack([torch.full((3, 4, 4), 0.2), torch.full((3, 4, 4), 5.0)])
    scores = psnr(x_hat, x)
    assert scores[0].item() == pytest.approx(20.0, abs=1e-4)  # 10 log10(2^2 / 0.2^2)
    assert scores[1].item() == pytest.approx(106.02, abs=0.01)  # clamped to 1: no error left


def test_it_shows_the_pictures_above_what_the_model_makes_of_them(
    tiny_config: TokenizerConfig, tmp_path: Path
) -> None:
    for grey in (0, 100, 200):
        Image.new("RGB", (16, 16), (grey, grey, grey)).save(tmp_path / f"{grey}.png")
    torch.manual_seed(0)
    model = tiny_config.build().eval()
    source = StatsData(path=tmp_path, resolution=16, batch=2, num_workers=0)
    score, rows = preview(model, source, torch.device("cpu"), "fp32")
    assert [tuple(row.shape[:1]) for row in rows] == [(2,), (2,)]
    assert rows[0].dtype == torch.uint8
    assert int(rows[0][0].max()) == 0
    pictures = torch.stack([torch.full((3, 16, 16), grey / 127.5 - 1) for grey in (0, 100, 200)])
    assert score == pytest.approx(float(psnr(model(pictures).x_hat, pictures).mean()), abs=1e-3)
