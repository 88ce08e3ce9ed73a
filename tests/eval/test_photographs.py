"""What samples are compared with is read once, in shards, whichever side of the reference it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.data import read_crop
from eval.errors import EvaluationError
from eval.generator import Job
from eval.nearest import NearestPhotographs, coarse
from eval.photographs import Photographs
from eval.rows import tables_of
from eval.samples import Samples, Sampling, make

SAMPLING = Sampling(2.0, 2)


def test_all_photographs_are_compared(make_job: Callable[..., Job]) -> None:
    job = make_job()
    samples = Samples.of(job, SAMPLING)
    make(job, samples)
    photographs = Photographs.of(job, samples)
    assert len(photographs) == 8
    photographs.read(job)
    neighbours, count = photographs.collect(job)
    assert count == 8
    crops = torch.stack([read_crop(file, 32)[0] for file in job.pictures.files])
    expected = NearestPhotographs(coarse(torch.cat(list(samples.batches()))))
    expected.update(range(8), crops)
    assert neighbours == expected.result(job.pictures.files)
    real = tables_of(job.metrics["gfid"])["real"].table()
    assert torch.allclose(real, crops.float().mean(dim=(2, 3)))
    photographs.remove()
    assert photographs.shards is not None
    assert not photographs.shards.folder.exists()


def test_pictures_of_a_reference_take_the_place_of_the_folder(
    make_job: Callable[..., Job], tmp_path: Path
) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "reference.npz", arr_0=pictures)
    job = make_job(reference=str(tmp_path / "reference.npz"))
    photographs = Photographs.of(job, None)
    assert photographs.shards is None  # nobody asks for the folder's
    assert len(photographs) == 7
    photographs.read(job)
    again = Photographs.of(job, None)
    assert again.reference is not None
    assert again.reference.begin() == []
    assert photographs.collect(job) == ([], 0)
    real = tables_of(job.metrics["gfid"])["real"].table()
    assert torch.allclose(real, torch.from_numpy(pictures).float().mean(dim=(1, 2)))
    with_nearest = Photographs.of(job, Samples.of(job, SAMPLING))
    assert len(with_nearest) == 7 + 8


def test_a_folder_without_one_readable_picture_is_refused(
    make_job: Callable[..., Job], tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    job = make_job(data={"path": str(folder), "on_corrupt": "skip"})
    photographs = Photographs.of(job, None)
    photographs.read(job)
    with pytest.raises(EvaluationError, match="none of the 1 pictures"):
        photographs.collect(job)
