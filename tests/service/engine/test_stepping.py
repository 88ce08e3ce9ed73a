"""Steps: slots join and leave between passes, and end where the whole run of their request alone would."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from diffusion.pipeline import Pipeline
from service.engine.costs import Costs
from service.engine.messages import Sampler
from service.engine.models import Models
from service.engine.operations.generate import Start
from service.engine.stepping import Run, Stepping

KIND = ("step", "shapes")
PIXELS = 32 * 32


def costs(*buckets: int, seconds: dict[int, float] | None = None) -> Costs:
    made = Costs(buckets or (1, 2, 4, 8), chosen=bool(seconds), max_pixels=10**9, max_seconds=10.0)
    for bucket, spent in (seconds or {}).items():
        made.set(KIND, PIXELS, bucket, spent)
    return made


def start(
    pipeline: Pipeline,
    seed: int,
    count: int = 1,
    *,
    num_steps: int = 4,
    guidance: float = 2.5,
    label: int = 1,
    sampler: Sampler = "euler",
    **given: Any,
) -> Start:
    return Start(
        eps=pipeline.noise([seed + index for index in range(count)]),
        label=label,
        guidance=guidance,
        times=tuple(pipeline.generator.times(num_steps, strength=given.pop("strength", 1.0)).tolist()),
        sampler=sampler,
        **given,
    )


@pytest.fixture
def pipeline(loaded: Models) -> Pipeline:
    return loaded.pipelines["shapes"]


def stepping(pipeline: Pipeline, known: Costs | None = None) -> Stepping[str]:
    return Stepping(pipeline, known or costs(), KIND, PIXELS)


def finish(steps: Stepping[str], most: int = 200) -> dict[str, Run[str]]:
    """Every request that ends, by owner."""
    done: dict[str, Run[str]] = {}
    with torch.inference_mode():
        for _ in range(most):
            ticked = steps.tick()
            assert ticked.failed == []
            done |= {run.owner: run for run in ticked.finished}
            if not len(steps):
                return done
    raise AssertionError("it never ends")


def latents(run: Run[str]) -> torch.Tensor:
    return torch.stack([slot.z for slot in run.slots])


@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_a_request_alone_is_what_the_pipeline_makes(
    pipeline: Pipeline, sampler: Sampler, guidance: float
) -> None:
    steps = stepping(pipeline)
    steps.join("a", start(pipeline, 7, 3, sampler=sampler, guidance=guidance), arrived=0.0)
    run = finish(steps)["a"]
    expected = pipeline.generate([1] * 3, 7, 4, guidance, sampler=sampler, output="latent").z
    torch.testing.assert_close(latents(run), expected, rtol=0, atol=1e-4)
    assert (run.lane.bucket, run.companions) == (4, 1)


def test_the_same_bytes_alone_and_among_32_others(pipeline: Pipeline) -> None:
    """Others have other steps, guidance, labels and samplers, and join and leave on the way."""
    alone = stepping(pipeline)
    alone.join("mine", start(pipeline, 7), arrived=0.0, pinned=8)
    expected = latents(finish(alone)["mine"])
    crowd = stepping(pipeline)
    done: dict[str, Run[str]] = {}
    with torch.inference_mode():
        for number in range(32):
            other = start(
                pipeline,
                100 + number,
                num_steps=2 + number % 5,
                guidance=1.0 + number % 3,
                label=number % 3,
                sampler="heun" if number % 4 == 0 else "euler",
            )
            crowd.join(f"other {number}", other, arrived=float(number), pinned=8 if number % 2 else None)
            if number == 16:
                crowd.join("mine", start(pipeline, 7), arrived=16.5, pinned=8)
            done |= {run.owner: run for run in crowd.tick().finished}
    done |= finish(crowd)
    assert len(done) == 33
    assert torch.equal(latents(done["mine"]), expected)
    assert done["mine"].companions > 1


def test_across_buckets_it_is_the_same_up_to_rounding(pipeline: Pipeline) -> None:
    results = []
    for bucket in (1, 2, 8):
        steps = stepping(pipeline)
        steps.join("a", start(pipeline, 7), arrived=0.0, pinned=bucket)
        results.append(latents(finish(steps)["a"]))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-4)


def test_who_comes_while_others_are_on_their_way_takes_a_free_seat(pipeline: Pipeline) -> None:
    steps = stepping(pipeline, costs(4, seconds={4: 1.0}))
    steps.join("first", start(pipeline, 1, num_steps=5), arrived=0.0)
    with torch.inference_mode():
        steps.tick()
        steps.tick()
        steps.join("late", start(pipeline, 2, num_steps=2), arrived=1.0)
        ticked = [steps.tick() for _ in range(3)]
    assert [[run.owner for run in tick.finished] for tick in ticked] == [[], ["late"], ["first"]]
    assert ticked[2].finished[0].companions == 2


def test_the_bucket_follows_demand_where_larger_ones_pay(pipeline: Pipeline) -> None:
    flat = stepping(pipeline, costs(1, 2, 4, 8, seconds=dict.fromkeys((1, 2, 4, 8), 1.0)))
    flat.join("a", start(pipeline, 1, 3), arrived=0.0, beside=4)
    assert finish(flat)["a"].lane.bucket == 8
    linear = stepping(pipeline, costs(1, 2, 4, 8, seconds={1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}))
    linear.join("a", start(pipeline, 1, 3), arrived=0.0, beside=4)
    assert finish(linear)["a"].lane.bucket == 1


def test_a_free_seat_of_a_larger_bucket_is_taken_unless_it_is_dear(pipeline: Pipeline) -> None:
    for price, expected in ((1.5, 8), (5.0, 4)):
        seconds = {1: 1.0, 2: 1.0, 4: 1.0, 8: price}
        known = Costs((1, 2, 4, 8), chosen=False, max_pixels=10**9, max_seconds=10.0)
        for bucket, spent in seconds.items():
            known.set(KIND, PIXELS, bucket, spent)
        steps = stepping(pipeline, known)
        steps.join("pinned", start(pipeline, 1), arrived=0.0, pinned=8)
        steps.join("free", start(pipeline, 2, 3), arrived=1.0)
        assert finish(steps)["free"].lane.bucket == expected


def test_a_long_request_lets_short_ones_pass_and_none_starves(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(
        "service.engine.stepping.time.monotonic", lambda: float(next(clock))
    )  # a pass takes 1 s
    steps = stepping(pipeline, costs(1))
    steps.join("long", start(pipeline, 1, num_steps=40), arrived=0.0)
    order = []
    with torch.inference_mode():
        for number in range(60):
            if number % 4 == 0 and number < 24:
                steps.join(f"short {number}", start(pipeline, 2, num_steps=2), arrived=float(number))
            order += [run.owner for run in steps.tick().finished]
            if not len(steps):
                break
    assert order[-1] == "long"
    assert len(order) == 7


def test_progress_tells_every_step_and_where_it_is_heading(pipeline: Pipeline) -> None:
    steps = stepping(pipeline)
    steps.join("a", start(pipeline, 7, 2), arrived=0.0)
    told, heading = [], []
    with torch.inference_mode():
        while len(steps):
            for advanced in steps.tick().advanced:
                told.append((advanced.run.step, advanced.run.num_steps))
                assert advanced.clean is not None
                heading.append(advanced.clean())
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    final = pipeline.generate([1], 7, 4, 2.5, output="latent").z
    torch.testing.assert_close(heading[-1], final, rtol=0, atol=1e-4)
    assert (heading[0] - final).abs().mean() > (heading[2] - final).abs().mean()


def test_who_is_gone_leaves_before_the_next_step(pipeline: Pipeline) -> None:
    steps = stepping(pipeline)
    for name in "ab":
        steps.join(name, start(pipeline, 1, 2), arrived=0.0)
    assert len(steps) == 4
    assert steps.drop(lambda owner: owner == "a") == ["a"]
    assert len(steps) == 2
    assert finish(steps).keys() == {"b"}


@pytest.mark.parametrize("masked", [False, True])
def test_a_given_picture_is_what_the_pipeline_makes_of_it(pipeline: Pipeline, masked: bool) -> None:
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    mask = None
    if masked:
        mask = torch.zeros(1, 1, 32, 32)
        mask[..., :16] = 1.0
    steps = stepping(pipeline)
    with torch.inference_mode():
        problems = steps.join(
            "a", start(pipeline, 7, 2, num_steps=5, strength=0.6, picture=x, mask=mask), arrived=0.0
        )
    assert problems == []
    run = finish(steps)["a"]
    expected = pipeline.image_to_image(x, [1, 1], 7, 5, 2.5, strength=0.6, mask=mask, output="latent").z
    torch.testing.assert_close(latents(run), expected, rtol=0, atol=1e-4)
    assert run.num_steps == 3


def test_a_given_picture_without_any_step_is_its_latent(pipeline: Pipeline) -> None:
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    steps = stepping(pipeline)
    with torch.inference_mode():
        steps.join("a", start(pipeline, 7, strength=0.0, picture=x), arrived=0.0)
        assert pipeline.tokenizer is not None
        expected = pipeline.tokenizer.encode(x).z
    torch.testing.assert_close(latents(finish(steps)["a"]), expected, rtol=0, atol=1e-5)


class Faulty:
    """A pipeline whose steps fail when ``fault`` says so; everything else is the real one's."""

    def __init__(self, pipeline: Pipeline, fault: Any) -> None:
        self._pipeline = pipeline
        self._fault = fault
        self.passes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def step(self, z_t: torch.Tensor, *numbers: Any, **options: Any) -> torch.Tensor:
        self.passes.append(len(z_t))
        self._fault(z_t, *numbers)
        return self._pipeline.step(z_t, *numbers, **options)


def test_memory_that_runs_short_makes_the_bucket_smaller_and_nobody_fails(pipeline: Pipeline) -> None:
    def fault(z_t: torch.Tensor, *_: Any) -> None:
        if len(z_t) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    known = costs(1, 2, 4, 8)
    faulty = Faulty(pipeline, fault)
    steps: Stepping[str] = Stepping(faulty, known, KIND, PIXELS)  # type: ignore[arg-type]  # it answers as one
    steps.join("a", start(pipeline, 7, 3), arrived=0.0)
    steps.join("b", start(pipeline, 9, 2), arrived=1.0)
    done = finish(steps)
    assert {name: run.lane.bucket for name, run in done.items()} == {"a": 2, "b": 2}
    expected = pipeline.generate([1] * 3, 7, 4, 2.5, output="latent").z
    torch.testing.assert_close(latents(done["a"]), expected, rtol=0, atol=1e-4)
    steps.join("c", start(pipeline, 7, 8), arrived=2.0)  # it has learnt
    before = len(faulty.passes)
    finish(steps)
    assert max(faulty.passes[before:]) == 2


def test_memory_that_does_not_hold_one_fails_that_one(pipeline: Pipeline) -> None:
    def fault(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    steps: Stepping[str] = Stepping(Faulty(pipeline, fault), costs(), KIND, PIXELS)  # type: ignore[arg-type]
    steps.join("a", start(pipeline, 7), arrived=0.0)
    ticked = steps.tick()
    assert ticked.memory_short == 1
    assert [(owner, type(error)) for owner, error in ticked.failed] == [("a", torch.OutOfMemoryError)]
    assert len(steps) == 0


def test_a_request_that_breaks_the_network_fails_alone_and_others_keep_their_bytes(
    pipeline: Pipeline,
) -> None:
    def fault(z_t: torch.Tensor, t: Any, t_next: Any, y: torch.Tensor, guidance: Any) -> None:
        if 2 in y.tolist():
            raise RuntimeError("the network broke")

    alone = stepping(pipeline)
    alone.join("good", start(pipeline, 7, label=0), arrived=0.0, pinned=4)
    expected = latents(finish(alone)["good"])
    steps: Stepping[str] = Stepping(Faulty(pipeline, fault), costs(), KIND, PIXELS)  # type: ignore[arg-type]
    for name, label in (("good", 0), ("bad", 2), ("other", 1)):
        steps.join(name, start(pipeline, 7, label=label), arrived=0.0, pinned=4)
    failed, done = [], {}
    with torch.inference_mode():
        while len(steps):
            ticked = steps.tick()
            failed += [owner for owner, _ in ticked.failed]
            done |= {run.owner: run for run in ticked.finished}
    assert failed == ["bad"]
    assert done.keys() == {"good", "other"}
    assert torch.equal(latents(done["good"]), expected)
