"""Tar shards made by hand, and pictures to put in them; films that tell their frames."""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokenizer.data.video_writer import to_mp4

MakeTar = Callable[..., Path]


def png(seed: int, side: int = 20) -> bytes:
    """A picture of noise as PNG bytes."""
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def make_tar(tmp_path: Path) -> MakeTar:
    """Write members, name and content, to a tar below tmp_path; several of one name as a list of pairs."""

    def make(
        name: str, members: Mapping[str, bytes] | list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pairs = members if isinstance(members, list) else list(members.items())
        with tarfile.open(path, "w", format=form) as tar:
            for member, content in pairs:
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return path

    return make


@pytest.fixture
def picture() -> Callable[[int], bytes]:
    """PNG bytes by number."""
    return png


def film(frames: int, size: tuple[int, int] = (48, 64), rate: int = 10, hue: int = 0) -> bytes:
    """An MP4 whose frames tell their number: red rises by 8 a frame; ``hue`` is the green, and blue rises downwards."""
    height, width = size
    pixels = np.zeros((frames, height, width, 3), np.uint8)
    pixels[..., 0] = (8 * np.arange(frames)[:, None, None]).clip(0, 240)
    pixels[..., 1] = hue
    pixels[..., 2] = np.linspace(20, 200, height, dtype=np.uint8)[None, :, None]
    return to_mp4(pixels, rate, crf=4)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four films of 20, 7, 2 and 12 frames in two classes, the last one upright; read only."""
    folder = tmp_path_factory.mktemp("films")
    for name, content in {
        "high/a.mp4": film(20, hue=200),
        "high/b.mp4": film(7, hue=160),
        "low/c.mp4": film(2, hue=60),
        "low/d.mp4": film(12, (64, 48), hue=20),
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
