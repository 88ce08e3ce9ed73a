"""Any picture becomes RGB, upright and opaque; what is none is named."""

from pathlib import Path

import pytest
from PIL import Image

from tokenizer.data import picture
from tokenizer.data.folder import PictureFile
from tokenizer.data.picture import FORMATS, read_image


def read(path: Path) -> Image.Image:
    return read_image(PictureFile(path, path.name))


def test_transparency_orientation_and_depth(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (8, 4)).save(tmp_path / "turned.jpg", exif=exif)
    assert read(tmp_path / "turned.jpg").size == (4, 8)
    Image.new("L", (4, 4), 77).save(tmp_path / "grey.png")
    assert read(tmp_path / "grey.png").getpixel((0, 0)) == (77, 77, 77)


def test_the_content_tells_the_format_and_few_formats_are_decoded(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), (255, 0, 0))
    for kind in FORMATS:
        image.save(tmp_path / "any.jpg", format=kind)
        assert read(tmp_path / "any.jpg").getpixel((1, 1))[0] > 250, kind
    for kind in ("PPM", "EPS", "ICO", "TGA"):
        image.save(tmp_path / "other.jpg", format=kind)
        with pytest.raises(ValueError, match=r"other\.jpg cannot be read: cannot identify it as one of JPEG"):
            read(tmp_path / "other.jpg")


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "large.png")
    monkeypatch.setattr(picture, "MAX_PIXELS", 63)
    for name, why in (
        ("text.png", "cannot identify"),
        ("large.png", "8x8 pixels are too many"),
        ("none.png", "No such"),
    ):
        with pytest.raises(ValueError, match=rf"{tmp_path / name} cannot be read: .*{why}"):
            read(tmp_path / name)
