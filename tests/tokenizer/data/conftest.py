"""Tar shards made by hand, and pictures to put in them."""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
