"""What is asked for is measured on a bounded number of pictures, and nothing else."""

from pathlib import Path

import pytest
import torch

from eval.data import DataConfig, Pictures, read_crop
from eval.errors import CorruptPictureError
from eval.probes import Probes, ProbesConfig, Subject, probe
from eval.protocols import canon_v1
from tokenizer.loading import load

SMALL = ProbesConfig(max_images=3, generations=1, steps=(1.0,), codecs=("jpeg",), batch_sizes=(1,), repeats=2)


def subject(tokenizer: Path, pictures: Path, out: Path, on_corrupt: str = "fail") -> Subject:
    data = DataConfig.parse({"path": str(pictures), "resolution": 32, "on_corrupt": on_corrupt})
    return Subject(
        tokenizer=load(tokenizer),
        pictures=Pictures.open(data),
        protocol=canon_v1(32, data.on_corrupt),
        device=torch.device("cpu"),
        dtype=torch.float32,
        tiles=None,
        batch_size=2,
        folder=out,
    )


def test_nothing_is_read_where_nothing_is_asked_for(tokenizer_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    found = probe(subject(tokenizer_folder, tmp_path, tmp_path), SMALL, health=False, rate=False, cost=False)
    assert found == Probes()


def test_each_is_measured_on_the_same_few_pictures(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    given = subject(tokenizer_folder, pictures_folder, tmp_path)
    found = probe(given, SMALL, health=True, rate=True, cost=True)
    assert found.health is not None
    assert found.rate is not None
    assert found.cost is not None
    assert found.health.num_images == 3
    assert found.rate.num_fitted + found.rate.num_images == 3
    assert (tmp_path / found.rate.points[0].file).is_file()
    assert [row.batch_size for row in found.cost.rows] == [1, 1]
    files = given.pictures.files
    expected = torch.stack([read_crop(files[place], 32)[0] for place in (0, 2, 5)])
    assert torch.equal(given.read(3), expected)
    alone = probe(given, SMALL, health=False, rate=True, cost=False)
    assert (alone.health, alone.cost) == (None, None)
    assert alone.rate == found.rate


def test_corrupt_pictures_fail_or_are_left_out(
    tokenizer_folder: Path, pictures_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "good.png").write_bytes((pictures_folder / "cat" / "0.png").read_bytes())
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(CorruptPictureError, match=r"bad\.png"):
        subject(tokenizer_folder, tmp_path, tmp_path).read(2)
    assert len(subject(tokenizer_folder, tmp_path, tmp_path, "skip").read(2)) == 1
