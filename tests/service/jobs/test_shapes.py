"""Requests of evaluations: what they can ask, and what would end in a command line as something else."""

import pytest

from service.jobs.shapes import EvaluationRequest, ListQuery


def test_defaults() -> None:
    asked = EvaluationRequest.parse({"data": "photos"})
    assert (asked.job, asked.protocol, asked.through, asked.batch_size) == (
        "reconstruct",
        "canon-v1",
        "server",
        16,
    )
    assert EvaluationRequest.parse(asked.model_dump(mode="json")) == asked


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"protocol": "a b"}, "protocol"),
        ({"protocol": "../x"}, "protocol"),
        ({"metrics": ["psnr,ssim"]}, "metrics"),
        ({"metrics": ["--help"]}, "metrics"),
        ({"require": ["x=y"]}, "require"),
        ({"also": ["canon-v1\n"]}, "also"),
        ({"num_images": 0}, "num_images"),
        ({"batch_size": True}, "batch_size"),
        ({"guidance": float("inf"), "job": "generate"}, "guidance"),
        ({"seed": 1}, "seed has no meaning with job=reconstruct"),
        ({"job": "generate", "resolution": 64}, "resolution has no meaning with job=generate"),
        ({"tokenizer": "/etc"}, "tokenizer"),
        ({"data": None}, "data"),
    ],
)
def test_refused(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        EvaluationRequest.parse({"data": "photos"} | change)


def test_unknown_parameters_of_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        ListQuery.model_validate({"offset": 1})
    with pytest.raises(ValueError, match="limit"):
        ListQuery.model_validate({"limit": 101})
