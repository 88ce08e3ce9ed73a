"""The operation over pipelines: requests share calls padded to a bucket, hear of steps, and end when all are over."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from service.engine.messages import PipelineJob
from service.engine.models import Models, load_one, place
from service.engine.operations.base import Pass
from service.engine.operations.diffusers_pipeline import DiffusersPipeline
from service.errors import InvalidParameter, RequestCancelled, ServiceError
from tests.service.engine.conftest import worker_settings
from tests.service.pipeline_folders import direct, make_dit, make_sana, source

DIT = PipelineJob(
    id=1,
    model="dit",
    cost=1,
    submitted_at=0.0,
    label=1,
    num_images=2,
    num_steps=3,
    guidance=2.5,
    seed=7,
    size=(32, 32),
    output="npy",
)
SANA = replace(DIT, model="sana", label=None, prompt="a red fox", num_images=1, num_steps=2)


class Watched:
    """An outlook that notes steps, and whose jobs are over when a test says so."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int]] = []
        self.ended: set[int] = set()

    def over(self, job_id: int) -> ServiceError | None:
        return RequestCancelled("nobody waits") if job_id in self.ended else None

    def stepped(self, job_id: int, step: int, num_steps: int) -> None:
        self.steps.append((job_id, step, num_steps))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"dit": make_dit(tmp_path_factory.mktemp("dit"))}


@pytest.fixture(scope="module")
def served(folders: dict[str, Path]) -> Models:
    models = place(worker_settings({}))
    for name, folder in folders.items():
        told = source(folder, name)
        models.add(told, load_one(models, told))
    return models


@pytest.fixture(scope="module")
def with_sana(served: Models, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Models:
    folders["sana"] = make_sana(tmp_path_factory.mktemp("sana"))
    told = source(folders["sana"], "sana")
    served.add(told, load_one(served, told))
    served.foreign["sana"].measure()
    return served


def run(operation: DiffusersPipeline, jobs: list[PipelineJob], bucket: int) -> list[np.ndarray]:
    """uint8 (N, H, W, 3) of each job, of one call of the core."""
    prepared = [operation.before(job) for job in jobs]
    assert len({item.key for item in prepared}) == 1
    with torch.inference_mode():
        results = operation.core([item.payload for item in prepared], Pass(bucket))
        answers = [
            operation.after(job, item.payload, result)
            for job, item, result in zip(jobs, prepared, results, strict=True)
        ]
    arrays = [np.load(io.BytesIO(answer.body)) for answer in answers]
    return [array if array.ndim == 4 else array[None] for array in arrays]


def test_pictures_are_those_of_the_pipeline_and_picture_i_has_seed_plus_i(
    served: Models, folders: dict[str, Path]
) -> None:
    operation = DiffusersPipeline(served, Watched())
    (pictures,) = run(operation, [DIT], bucket=2)
    expected = direct(
        folders["dit"], class_labels=[1, 1], seeds=[7, 8], guidance_scale=2.5, num_inference_steps=3
    )
    np.testing.assert_array_equal(pictures, expected.numpy())


def test_a_text_makes_the_pictures_of_the_pipeline(with_sana: Models, folders: dict[str, Path]) -> None:
    (pictures,) = run(DiffusersPipeline(with_sana, Watched()), [SANA], bucket=1)
    expected = direct(
        folders["sana"],
        prompt=["a red fox"],
        seeds=[7],
        guidance_scale=2.5,
        num_inference_steps=2,
        height=32,
        width=32,
        use_resolution_binning=False,
    )
    np.testing.assert_array_equal(pictures, expected.numpy())


def test_requests_of_equal_settings_share_calls_and_bytes_depend_on_the_bucket_alone(served: Models) -> None:
    operation = DiffusersPipeline(served, Watched())
    jobs = [DIT, replace(DIT, id=2, label=2, seed=50, num_images=3), replace(DIT, id=3, seed=9, num_images=1)]
    together = run(operation, jobs, bucket=4)  # six rows: two calls, the last one padded
    assert [len(pictures) for pictures in together] == [2, 3, 1]
    for job, pictures in zip(jobs, together, strict=True):
        (alone,) = run(operation, [job], bucket=4)
        np.testing.assert_array_equal(alone, pictures)


def test_what_shares_a_call(with_sana: Models) -> None:
    operation = DiffusersPipeline(with_sana, Watched())
    key = operation.before(DIT).key
    assert operation.before(replace(DIT, label=2, seed=1, num_images=5)).key == key
    for change in ({"num_steps": 4}, {"guidance": 3.0}):
        assert operation.before(replace(DIT, **change)).key != key
    text = operation.before(SANA).key
    assert operation.before(replace(SANA, prompt="blue house")).key == text
    assert operation.before(replace(SANA, negative_prompt="blue")).key != text
    assert operation.before(replace(SANA, size=(32, 64))).key != text
    with_sana.foreign["sana"].mixes_texts = True
    try:
        alone = operation.before(SANA).key
        assert operation.before(replace(SANA, prompt="blue house")).key != alone
        assert operation.before(replace(SANA, seed=3)).key == alone
    finally:
        with_sana.foreign["sana"].mixes_texts = False


def test_rows_and_cost_are_those_of_all_pictures(served: Models) -> None:
    prepared = DiffusersPipeline(served, Watched()).before(replace(DIT, num_images=3))
    assert (prepared.rows, prepared.cost, prepared.kind) == (3, 3 * 32 * 32, ("pipeline", "dit"))


def test_steps_are_told_to_every_request_of_a_call(served: Models) -> None:
    watched = Watched()
    run(DiffusersPipeline(served, watched), [DIT, replace(DIT, id=2, seed=3)], bucket=2)
    assert [step for step in watched.steps if step[0] == 2] == [(2, step, 6) for step in range(1, 7)]
    assert len(watched.steps) == 12


def test_a_call_ends_when_all_its_requests_are_over_and_not_before(served: Models) -> None:
    watched = Watched()
    operation = DiffusersPipeline(served, watched)
    payloads = [operation.before(job).payload for job in (DIT, replace(DIT, id=2, seed=3))]
    watched.ended = {1}
    with torch.inference_mode():
        assert len(operation.core(payloads, Pass(4))) == 2
        watched.ended = {1, 2}
        watched.steps.clear()
        with pytest.raises(RequestCancelled, match="nobody"):
            operation.core(payloads, Pass(4))
    assert max(step for _, step, _ in watched.steps) == 1


def test_what_a_pipeline_cannot_do_is_refused(served: Models) -> None:
    operation = DiffusersPipeline(served, Watched())
    for change in ({"init": b"picture"}, {"sampler": "heun"}):
        with pytest.raises(InvalidParameter, match="starts from noise"):
            operation.before(replace(DIT, **change))


def test_a_model_that_left_meanwhile_is_an_answer(served: Models) -> None:
    with pytest.raises(ServiceError, match="ask again"):
        DiffusersPipeline(served, Watched()).before(replace(DIT, model="gone"))
