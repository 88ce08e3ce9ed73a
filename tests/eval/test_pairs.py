"""The page shows the first samples of each class, each beside the photograph that it is nearest to."""

from collections.abc import Callable

import torch

from eval.data import read_crop
from eval.generator import Job
from eval.nearest import Neighbour
from eval.pairs import pairs, sections
from eval.samples import Samples, Sampling, make
from eval.settings import GenerateConfig


def test_samples_stand_beside_their_photographs(make_job: Callable[..., Job]) -> None:
    job = make_job(grid_per_class=2, seed=7)
    assert isinstance(job.config, GenerateConfig)
    samples = Samples.of(job, Sampling(2.0, 2))
    make(job, samples)
    files = job.pictures.files
    neighbours = [Neighbour(files[row], 10.0 + row, mirrored=row == 1) for row in range(5)]
    shown = list(pairs(job, job.config, samples, neighbours))
    assert [(name, len(found)) for name, found in shown] == [("cat", 2), ("dog", 2)]
    made = torch.cat(list(samples.batches()))
    (_, (first, third)), (_, (second, _)) = shown
    assert torch.equal(first.sample, made[0])
    assert torch.equal(third.sample, made[2])
    assert torch.equal(third.photograph, read_crop(files[2], 32)[0])
    assert torch.equal(second.photograph, read_crop(files[1], 32)[0].flip(-1))
    assert third.caption == f"seed 9; nearest is {files[2].name}, 12.0 grey levels away"
    page = sections(job, shown)
    assert [section.title for section in page] == ["Class cat", "Class dog"]
    assert "among all 8 photographs" in page[0].remark
