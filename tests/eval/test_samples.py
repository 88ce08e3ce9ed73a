"""Samples in shards: each from its own seed, kept on disk, written as ADM's evaluator reads them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from eval.generator import Job
from eval.nearest import coarse
from eval.rows import tables_of
from eval.samples import Samples, Sampling, make

SAMPLING = Sampling(2.0, 2)


def test_samples_are_kept_by_shard_and_come_back(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job()
    samples = Samples.of(job, SAMPLING)
    make(job, samples)
    assert list(samples.labels) == [0, 1, 0, 1, 0]
    assert [len(part) for part in samples.batches()] == [3, 2]
    whole = torch.cat(list(samples.batches()))
    assert (whole.shape, whole.dtype) == ((5, 3, 32, 32), torch.uint8)
    alone = job.pipeline.generate([1, 0], 3, 2, 2.0, output="pixels")
    difference = ((alone + 1) * 127.5).round() - whole[3:].float()
    assert difference.abs().max() <= 1
    found = samples.pictures([4, 0])
    assert all(torch.equal(found[number], whole[number]) for number in (0, 4))
    assert torch.equal(samples.coarse(), coarse(whole))
    samples.write_npz(tmp_path / "samples.npz")
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as written:
        assert np.array_equal(written["arr_0"], whole.permute(0, 2, 3, 1).numpy())
        assert (written["arr_1"].tolist(), written["arr_1"].dtype) == ([0, 1, 0, 1, 0], np.int64)


def test_features_of_all_samples_reach_the_metrics_in_order(make_job: Callable[..., Job]) -> None:
    job = make_job()
    samples = Samples.of(job, SAMPLING)
    make(job, samples)
    assert samples.collect(job) > 0
    expected = torch.cat(list(samples.batches())).float().mean(dim=(2, 3))
    assert torch.allclose(tables_of(job.metrics["gfid"])["fake"].table(), expected)


def test_other_settings_are_other_samples(make_job: Callable[..., Job]) -> None:
    keys = {
        Samples.of(make_job(), SAMPLING).shards.key,
        Samples.of(make_job(), Sampling(3.0, 2)).shards.key,
        Samples.of(make_job(), Sampling(2.0, 3)).shards.key,
        Samples.of(make_job(seed=1), SAMPLING).shards.key,
        Samples.of(make_job(sampler="heun"), SAMPLING).shards.key,
        Samples.of(make_job(num_images=6), SAMPLING).shards.key,
    }
    assert len(keys) == 6
    assert Samples.of(make_job(grid_classes=1), SAMPLING).shards.key in keys
