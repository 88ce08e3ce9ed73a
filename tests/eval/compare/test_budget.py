"""Every member trains on as many images, in proportion; everything else is its preset's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eval.compare.budget import at_budget, images_in, read_preset, spread
from eval.compare.settings import CompareConfig, MemberConfig

Make = Callable[..., CompareConfig]


def member(presets: Path, name: str, *overrides: str) -> MemberConfig:
    return MemberConfig.parse(
        {"preset": str(presets / f"{name}.yaml"), "label": name, "overrides": overrides}
    )


@pytest.mark.parametrize(
    ("weights", "images", "batch", "expected"),
    [
        ([100], 64, 8, [64]),
        ([100], 60, 8, [64]),  # whole steps
        ([3200, 320], 3520, 16, [3200, 320]),
        ([9, 1], 200, 10, [180, 20]),
        ([2, 1], 100, 10, [70, 30]),  # 6.7 and 3.3 steps
        ([1, 1, 1], 48, 16, [16, 16, 16]),
        ([10_000, 1], 32, 16, [16, 16]),
    ],
)
def test_images_are_spread_over_phases(
    weights: list[int], images: int, batch: int, expected: list[int]
) -> None:
    found = spread(weights, images, batch)
    assert found == expected
    assert sum(found) == -(-images // batch) * batch
    assert all(count % batch == 0 and count > 0 for count in found)


def test_a_budget_must_hold_all_phases() -> None:
    with pytest.raises(ValueError, match="fewer steps than the preset has phases, 2"):
        spread([1, 1], 16, 16)


def test_what_is_stated_in_images_keeps_its_share(presets: Path, config: Make, tmp_path: Path) -> None:
    train = read_preset(member(presets, "micro_fsq"))
    before = sum(phase.span for phase in train.phases)
    run = at_budget(train, config(images=480), tmp_path, 480)
    ratio = 480 / before
    assert sum(phase.span for phase in run.phases) == 480
    assert run.phases[0].images == pytest.approx(100 * ratio, abs=8)
    assert run.optim.warmup_images == round(20 * ratio)
    assert run.ema_half_life == pytest.approx(10 * ratio)
    assert {(phase.resolution, phase.batch) for phase in run.phases} == {(32, 8)}
    assert run.phases[1].train == ("decoder.project_out.*",)
    assert run.phases[1].optim is not None
    assert run.phases[1].optim.lr == 1e-3
    assert run.model == train.model
    assert run.out == tmp_path


def test_the_adversary_begins_at_its_share_of_the_phase(presets: Path, config: Make, tmp_path: Path) -> None:
    chosen = member(
        presets, "micro", "phases.0.adversary.start_images=50", "phases.0.adversary.optim.warmup_images=10"
    )
    run = at_budget(read_preset(chosen), config(), tmp_path, 1000)
    adversary = run.phases[0].adversary
    assert adversary is not None
    assert (adversary.start_images, adversary.optim.warmup_images) == (500, 100)


def test_overrides_reach_the_member_and_mistakes_name_it(presets: Path) -> None:
    assert read_preset(member(presets, "micro", "optim.lr=0.5")).optim.lr == 0.5
    with pytest.raises(ValueError, match=r"member micro: .*unknown key"):
        read_preset(member(presets, "micro", "optim.speed=1"))
    with pytest.raises(ValueError, match=r"member x: no preset 'x'.*tiny"):
        read_preset(MemberConfig.parse("x"))


def test_seconds_are_filled_by_the_phases_at_their_speeds() -> None:
    """Half the images at 100 a second and half at 50: 30 ms for two images."""
    assert images_in(3.0, [1, 1], [100.0, 50.0], 10) == 200
    assert images_in(1e-9, [1, 1], [100.0, 50.0], 10) == 20  # every phase takes a step
