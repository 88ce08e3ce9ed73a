"""FID over a stand-in for the network: intervals, pairs, warnings."""

from functools import partial

import pytest
import torch

from eval.errors import NotComputedError
from eval.metrics.fid import frechet_score
from eval.metrics.sets import SetComparison
from eval.protocols import canon_v1

PROTOCOL = canon_v1(16, "fail")


def extract(pictures: torch.Tensor) -> torch.Tensor:
    """12 averages of each picture."""
    return torch.nn.functional.adaptive_avg_pool2d(pictures.float(), 2).flatten(1) / 255


def pictures(seed: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)


def metric(*, paired: bool = True) -> SetComparison:
    return SetComparison(PROTOCOL, extract, (), partial(frechet_score, PROTOCOL, paired=paired))


@pytest.mark.parametrize("count", [9, 60])
def test_metrics_of_parts_merge_into_the_whole(count: int) -> None:
    real, fake = pictures(0, count), pictures(1, count)
    whole, first, second = metric(), metric(), metric()
    whole.update(real, fake)
    first.update(real[:5], fake[:5])
    second.update(real[5:], fake[5:])
    first.merge(second)
    expected = whole.compute()
    assert first.compute() == expected
    assert expected.num_images == count
    assert ("warning" in expected.details) == (count == 9)  # told when there are fewer pictures than features


def test_paired_identity_is_zero_with_a_tight_interval_and_unpaired_is_not() -> None:
    same = pictures(2, 40)
    paired, unpaired = metric(paired=True), metric(paired=False)
    paired.update(same, same)
    unpaired.update(same, same)
    assert paired.compute().ci95 == pytest.approx((0.0, 0.0), abs=1e-8)
    assert unpaired.compute().ci95[1] > 1e-4  # resampled independently, the two sets differ


def test_interval_contains_the_value() -> None:
    made = metric(paired=False)
    made.update_real(pictures(3, 50))
    made.update_fake(pictures(4, 30))
    score = made.compute()
    assert score.ci95[0] <= score.value <= score.ci95[1]
    assert (score.details["num_real"], score.details["num_fake"]) == (50, 30)


def test_one_picture_is_not_enough() -> None:
    made = metric()
    made.update(pictures(5, 1), pictures(6, 1))
    with pytest.raises(NotComputedError, match="at least 2"):
        made.compute()
