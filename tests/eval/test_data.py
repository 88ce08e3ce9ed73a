"""Pictures are read in order, cropped by rule, and never replaced."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eval.data import DataConfig, Pictures, evenly, read_crop, shared_side
from eval.errors import CorruptPictureError, EvaluationError
from eval.protocols import canon_v1
from tokenizer.data.folder import PictureFile
from tokenizer.data.pack import PackConfig, pack


def crop_of(path: Path, resolution: int) -> tuple[torch.Tensor, bool]:
    return read_crop(PictureFile(path, path.name), resolution)


def read(pictures: Pictures, batch_size: int = 3, on_corrupt: str = "fail") -> tuple[list[str], torch.Tensor]:
    protocol = canon_v1(pictures.resolution, "skip" if on_corrupt == "skip" else "fail")
    batches = list(pictures.batches(protocol, batch_size, num_workers=2))
    names = [file.name for batch in batches for file in batch.files]
    return names, torch.cat([batch.data for batch in batches])


def test_all_pictures_once_in_order(pictures_folder: Path) -> None:
    pictures = Pictures.open(DataConfig(path=pictures_folder, resolution=32))
    names, data = read(pictures)
    assert names == sorted(names)
    assert len(set(names)) == len(names) == pictures.num_found == 8
    assert data.shape == (8, 3, 32, 32)
    assert data.dtype == torch.uint8
    for name, crop in zip(names, data, strict=True):
        assert torch.equal(crop, crop_of(pictures_folder / name, 32)[0])


def test_shards_are_read_as_their_folder(pictures_folder: Path, tmp_path: Path) -> None:
    shards = pack(PackConfig(path=pictures_folder, out=tmp_path / "shards", shard_images=3))
    for limit in (None, 4):
        settings = {"resolution": 32, "max_images": limit}
        folder = read(Pictures.open(DataConfig.parse({"path": pictures_folder} | settings)))
        packed = read(Pictures.open(DataConfig.parse({"path": tmp_path / "shards"} | settings)))
        assert [name.partition("/")[2] for name in packed[0]] == folder[0]
        assert torch.equal(packed[1], folder[1])
    victim = shards[4]
    data = bytearray(victim.shard.path.read_bytes())
    data[victim.offset : victim.offset + 64] = bytes(64)
    victim.shard.path.write_bytes(data)
    config = DataConfig(path=tmp_path / "shards", resolution=32)
    with pytest.raises(CorruptPictureError, match=rf"shard-000001\.tar: {victim.member} cannot be read"):
        read(Pictures.open(config))
    pictures = Pictures.open(config)
    names, _ = read(pictures, on_corrupt="skip")
    assert len(names) == 7
    assert victim.member in pictures.skipped[0]


def test_crop_at_native_size_is_the_centre_untouched(pictures_folder: Path) -> None:
    file = pictures_folder / "cat" / "0.png"
    crop, upsampled = crop_of(file, 40)
    pixels = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    assert torch.equal(crop, pixels[:, :, 6:46])
    assert not upsampled


def test_crop_halves_by_box_then_bicubic(tmp_path: Path) -> None:
    """The steps of ADM, written out: not one antialiased resize."""
    values = np.random.default_rng(1).integers(0, 256, (150, 190, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    image.save(tmp_path / "a.png")
    halved = image.resize((95, 75), Image.Resampling.BOX)
    expected = halved.resize((round(95 * 64 / 75), 64), Image.Resampling.BICUBIC)
    left = (expected.width - 64) // 2
    crop, _ = crop_of(tmp_path / "a.png", 64)
    assert np.array_equal(crop.permute(1, 2, 0).numpy(), np.asarray(expected)[:, left : left + 64])
    direct = np.asarray(image.resize(expected.size, Image.Resampling.BILINEAR))[:, left : left + 64]
    assert not np.array_equal(crop.permute(1, 2, 0).numpy(), direct)


def test_limit_takes_every_class(pictures_folder: Path) -> None:
    pictures = Pictures.open(DataConfig(path=pictures_folder, resolution=32, max_images=4))
    names, _ = read(pictures)
    assert names == ["cat/0.png", "cat/2.png", "dog/0.png", "dog/2.png"]
    assert pictures.num_found == 8
    assert evenly([1, 2], 5) == [1, 2]


def test_resolution_is_taken_from_pictures_that_share_a_side(pictures_folder: Path, tmp_path: Path) -> None:
    assert Pictures.open(DataConfig(path=pictures_folder)).resolution == 40
    for side in (30, 50):
        Image.new("RGB", (side, 60)).save(tmp_path / f"{side}.png")
    with pytest.raises(EvaluationError, match=r"data\.resolution=30 enlarges none"):
        Pictures.open(DataConfig(path=tmp_path))
    assert shared_side([PictureFile(tmp_path / "30.png", "30.png")]) == 30


def test_enlarged_pictures_are_counted(pictures_folder: Path) -> None:
    pictures = Pictures.open(DataConfig(path=pictures_folder, resolution=64))
    read(pictures)
    assert pictures.num_upsampled == 8


@pytest.mark.parametrize("content", [b"", b"no picture at all"])
def test_corrupt_pictures_fail_or_are_named(pictures_folder: Path, tmp_path: Path, content: bytes) -> None:
    whole = (pictures_folder / "cat" / "0.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole)
    (tmp_path / "b.png").write_bytes(content)
    (tmp_path / "c.png").write_bytes(whole[: len(whole) // 2])
    config = DataConfig(path=tmp_path, resolution=32)
    with pytest.raises(CorruptPictureError, match=r"b\.png.*data\.on_corrupt=skip"):
        read(Pictures.open(config))
    pictures = Pictures.open(config)
    names, data = read(pictures, on_corrupt="skip")
    assert names == ["a.png"]
    assert len(data) == 1
    assert ["b.png" in pictures.skipped[0], "c.png" in pictures.skipped[1]] == [True, True]


def test_wrong_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="not a folder"):
        Pictures.open(DataConfig(path=tmp_path / "nothing", resolution=32))
    with pytest.raises(EvaluationError, match="no pictures"):
        Pictures.open(DataConfig(path=tmp_path, resolution=32))
