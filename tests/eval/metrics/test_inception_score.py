"""Inception score: torch-fidelity's, ADM's and TiTok's conventions, and the formula's limits."""

import warnings

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric
from torchmetrics.image.inception import InceptionScore

from eval.metrics.inception_score import inception_score, inception_score_score
from eval.protocols import canon_v1, protocol

NONE = torch.empty(0)


def logits(n: int = 60, k: int = 12) -> torch.Tensor:
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(0))


def test_equals_torch_fidelity() -> None:
    theirs = isc_features_to_metric(logits(), splits=10, shuffle=True, rng_seed=2020)
    made = inception_score(logits(), splits=10, shuffle_seed=2020)
    assert np.mean(made) == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    assert np.std(made) == pytest.approx(theirs["inception_score_std"], rel=1e-9)
    assert inception_score_score(canon_v1(16, "fail"), NONE, logits()).value == np.mean(made)


def test_equals_torchmetrics_of_one_split() -> None:
    """More splits than one it draws without a seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that features are kept, and that one split has no spread
        theirs = InceptionScore(feature=torch.nn.Identity(), splits=1)
        theirs.features.append(logits())
        expected = theirs.compute()[0].item()
    assert inception_score(logits(), splits=1) == pytest.approx([expected], rel=1e-5)


def test_equals_adms_arithmetic() -> None:
    """Splits of a fixed size in order, the last one shorter."""
    part = torch.softmax(logits().double(), dim=1).numpy()
    expected = []
    for first in range(0, 60, 25):
        p = part[first : first + 25]
        expected.append(np.exp(np.mean(np.sum(p * (np.log(p) - np.log(p.mean(axis=0))), axis=1))))
    assert inception_score(logits(), split_size=25) == pytest.approx(expected, rel=1e-12)
    adm = protocol("adm-gfid", 256).inception_score
    assert (adm.split_size, adm.shuffle_seed) == (5000, None)


def test_titok_takes_one_split_which_is_another_number() -> None:
    settings = protocol("titok", 256)
    one = inception_score_score(settings, NONE, logits())
    assert one.details["splits"] == 1
    assert one.value == pytest.approx(inception_score(logits(), splits=1)[0])
    assert one.value - float(np.mean(inception_score(logits(), splits=10))) > 0.1


def test_limits() -> None:
    sure = 1000.0 * torch.eye(8).repeat(3, 1)
    assert inception_score(sure, splits=1) == pytest.approx([8.0])  # sure of each, all classes alike
    assert inception_score(sure[:1].repeat(5, 1), splits=1) == pytest.approx(
        [1.0]
    )  # sure, and always the same
    assert inception_score(torch.zeros(5, 8), splits=1) == pytest.approx([1.0])  # never sure


def test_the_same_number_twice_and_an_interval_around_it() -> None:
    """torchmetrics shuffles without a seed."""
    first, second = (inception_score_score(canon_v1(16, "fail"), NONE, logits()) for _ in range(2))
    assert first == second
    assert first.ci95[0] < first.value < first.ci95[1]
