"""What is sent for a path, bytes, a PIL image, an array."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.client.pictures import picture_bytes


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_files_and_bytes_go_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"anything")
    assert picture_bytes(tmp_path / "a.jpg") == picture_bytes(str(tmp_path / "a.jpg")) == b"anything"
    assert picture_bytes(b"bytes") == picture_bytes(memoryview(b"bytes")) == b"bytes"


@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 5, 7, 3)])
def test_arrays_of_colours_go_as_npy_without_loss(shape: tuple[int, ...]) -> None:
    array = pixels(*shape)
    turned = array[:, ::-1]  # not contiguous
    np.testing.assert_array_equal(np.load(io.BytesIO(picture_bytes(turned))), turned)


def test_grey_arrays_go_as_png() -> None:
    array = pixels(5, 7)
    with Image.open(io.BytesIO(picture_bytes(array))) as image:
        np.testing.assert_array_equal(np.asarray(image), array)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK"])
def test_pil_images_go_as_png_without_loss(mode: str) -> None:
    image = Image.fromarray(pixels(5, 7, 3)).convert(mode)
    with Image.open(io.BytesIO(picture_bytes(image))) as sent:
        assert sent.format == "PNG"
        np.testing.assert_array_equal(np.asarray(sent.convert("RGB")), np.asarray(image.convert("RGB")))


def test_orientation_is_applied() -> None:
    image = Image.fromarray(pixels(5, 7, 3))
    image.getexif()[0x0112] = 6
    with Image.open(io.BytesIO(picture_bytes(image))) as sent:
        assert sent.size == (5, 7)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(3, np.uint8),
    ],
)
def test_other_arrays_are_refused_with_what_to_give(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"give uint8 \(H, W\)"):
        picture_bytes(array)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing.png"):
        picture_bytes(tmp_path / "nothing.png")
