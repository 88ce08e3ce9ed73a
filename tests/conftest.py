"""What tests of several packages share."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 48 smooth pictures (H 96, W 80) in two classes, ``rings`` and ``waves``; read only."""
    folder = tmp_path_factory.mktemp("photographs")
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 80), indexing="ij")
    for name in ("rings", "waves"):
        (folder / name).mkdir()
        for index in range(24):
            at, turn, colour, ground = torch.rand(4, 3, generator=generator).unbind()
            if name == "rings":
                shape = torch.hypot(rows - at[0] + 0.5, columns - at[1] + 0.5) * (6 + 6 * turn[0])
            else:
                angle = float(turn[0]) * math.pi
                shape = (rows * math.cos(angle) + columns * math.sin(angle)) * (4 + 8 * at[0])
            mix = (shape.sin()[..., None] + 1) / 2  # (H, W, 1)
            pixels = (mix * colour + (1 - mix) * ground) * 255
            file = folder / name / f"{index:02d}.png"
            Image.fromarray(pixels.round().to(torch.uint8).numpy()).save(file)
    return folder
