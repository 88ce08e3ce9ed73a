"""KID: torch-fidelity's numbers, unbiasedness, and its standard error."""

from functools import partial

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from eval.metrics.kid import jackknife_std, kid_of_subsets, kid_score, squared_mmd
from eval.metrics.sets import SetComparison
from eval.protocols import canon_v1
from eval.protocols.settings import KIDSettings

PROTOCOL = canon_v1(16, "fail").model_copy(update={"kid": KIDSettings(subsets=6, subset_size=30)})


def features(seed: int, n: int, *, shift: float = 0.0, d: int = 16) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def test_equals_torch_fidelity() -> None:
    x, y = features(0, 60), features(1, 50, shift=0.4)
    theirs = kid_features_to_metric(x, y, kid_subsets=6, kid_subset_size=30, rng_seed=2020, verbose=False)
    values = kid_of_subsets(x, y, subsets=6, size=30, seed=2020)
    assert np.mean(values) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-5)
    assert np.std(values) == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-5)
    score = kid_score(PROTOCOL, x, y)
    assert score.value == np.mean(values)
    assert (score.details["subsets"], score.details["subset_size"]) == (6, 30)
    assert score.ci95[0] < score.value < score.ci95[1]


def test_it_is_unbiased_at_any_number() -> None:
    """Over many small draws of one distribution the mean is 0 within its error, where FID would not be."""
    values = [squared_mmd(features(100 + i, 8), features(5000 + i, 8)) for i in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert min(values) < 0 < max(values)


def test_all_pictures_stand_where_a_subset_would_hold_more() -> None:
    x, y = features(2, 20), features(3, 20, shift=0.3)
    score = kid_score(PROTOCOL, x, y)
    assert score.details["subset_size"] == 20
    assert score.details["subsets"] == 1
    assert score.value == pytest.approx(squared_mmd(x, y), rel=1e-12)


def test_the_interval_has_the_width_of_repeated_draws() -> None:
    draws = [(features(10 + i, 120), features(900 + i, 120, shift=0.3)) for i in range(60)]
    spread = np.std([squared_mmd(x, y) for x, y in draws])
    told = np.mean([jackknife_std(x, y) for x, y in draws[:20]])
    assert 0.6 < told / spread < 1.6


def test_order_of_numbered_parts_does_not_matter() -> None:
    def extract(pictures: torch.Tensor) -> torch.Tensor:
        return pictures.float().flatten(1)[:, :16] / 255

    def metric() -> SetComparison:
        return SetComparison(PROTOCOL, extract, (), partial(kid_score, PROTOCOL))

    generator = torch.Generator().manual_seed(5)
    real, fake = (torch.randint(0, 256, (40, 3, 4, 4), generator=generator).byte() for _ in range(2))
    whole, first, second = metric(), metric(), metric()
    whole.update(real, fake)
    first.update(real[:15], fake[:15], range(15))
    second.update(real[15:], fake[15:], range(15, 40))
    second.merge(first)
    assert second.compute() == whole.compute()
