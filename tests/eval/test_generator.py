"""A generator that is ready to be measured; mistakes are held by test_generate.py."""

from collections.abc import Callable
from pathlib import Path

from eval.generator import Job
from tokenizer.core.checkpoint import weights_sha256


def test_it_is_known_by_its_weights(make_job: Callable[..., Job], generator_folder: Path) -> None:
    job = make_job()
    assert job.weights == weights_sha256(generator_folder)
    assert (job.pictures.resolution, job.protocol.resolution) == (32, 32)
    assert list(job.metrics) == ["gfid"]
    assert job.config.out.is_dir()
