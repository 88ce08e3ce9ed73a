"""The bookkeeping of metrics of two sets, and all of them over the network's file against torch-fidelity and others."""

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
from torchmetrics.image.kid import KernelInceptionDistance

from eval.errors import NotComputedError
from eval.metrics import METRICS
from eval.metrics.cmmd import cmmd_score
from eval.metrics.fid import frechet_score
from eval.metrics.inception_score import inception_score_score
from eval.metrics.infinity import fd_infinity_score
from eval.metrics.kid import kid_score
from eval.metrics.manifold import precision_recall_score
from eval.metrics.score import Score, SetMetric
from eval.metrics.sets import SetComparison, around
from eval.protocols import canon_v1
from eval.protocols.settings import FDInfinitySettings
from eval.weights import WeightsConfig

CPU = torch.device("cpu")
PROTOCOL = canon_v1(32, "fail")
OF_SETS = ("rfid", "gfid", "sfid", "kid", "inception_score", "precision", "recall", "fd_infinity")


def pictures(seed: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)


def sums(real: torch.Tensor, fake: torch.Tensor) -> Score:
    return Score(float(real.sum() - fake.sum()), (0.0, 0.0), len(fake))


def test_pairs_and_single_sides() -> None:
    pair = SetComparison(PROTOCOL, lambda x: x.float().mean(dim=(2, 3)), (), sums)
    alone = SetComparison(PROTOCOL, lambda x: x.float().mean(dim=(2, 3)), (), sums)
    pair.update(pictures(0, 4), pictures(1, 4))
    alone.update_fake(pictures(1, 4))
    alone.update_real(pictures(0, 4))
    assert pair.compute() == alone.compute()
    assert isinstance(pair, SetMetric)
    with pytest.raises(ValueError, match="uint8"):
        pair.update(pictures(0, 4).float(), pictures(1, 4).float())


def test_one_picture_is_not_enough() -> None:
    metric = SetComparison(PROTOCOL, lambda x: x.float().mean(dim=(2, 3)), (), sums)
    metric.update(pictures(0, 1), pictures(1, 1))
    with pytest.raises(NotComputedError, match="at least 2"):
        metric.compute()


def test_a_score_of_made_pictures_alone_never_reads_real_ones() -> None:
    def extract(x: torch.Tensor) -> torch.Tensor:
        assert torch.equal(x, fake)
        return x.float().mean(dim=(2, 3))

    fake = pictures(1, 4)
    metric = SetComparison(PROTOCOL, extract, (), sums, needs_real=False)
    metric.update(pictures(0, 4), fake)
    assert metric.compute().num_images == 4


SCORES = {
    "fid": partial(frechet_score, PROTOCOL, paired=False),
    "kid": partial(kid_score, PROTOCOL),
    "cmmd": partial(cmmd_score, PROTOCOL),
    "inception_score": partial(inception_score_score, PROTOCOL),
    "precision": partial(precision_recall_score, PROTOCOL, which="precision"),
    "recall": partial(precision_recall_score, PROTOCOL, which="recall"),
    "fd_infinity": partial(
        fd_infinity_score,
        PROTOCOL.model_copy(update={"fd_infinity": FDInfinitySettings(points=4, smallest=8)}),
    ),
}


@pytest.mark.parametrize("name", list(SCORES))
def test_numbered_parts_in_any_order_are_one_pass(name: str) -> None:
    def comparison() -> SetComparison:
        return SetComparison(PROTOCOL, lambda x: x.float().flatten(1)[:, :6] / 100, (), SCORES[name])

    real, fake = pictures(6, 20), pictures(7, 20)
    whole, first, second = comparison(), comparison(), comparison()
    whole.update(real, fake)
    second.update(real[1::2], fake[1::2], range(1, 20, 2))
    first.update(real[::2], fake[::2], range(0, 20, 2))
    second.merge(first)
    assert second.compute() == whole.compute()
    second.merge(first)
    with pytest.raises(ValueError, match="counted twice"):
        second.compute()


def test_interval() -> None:
    assert around(1.0, 0.5) == (1.0 - 0.98, 1.98)
    assert around(0.1, 0.5, at_least=0.0)[0] == 0.0


@pytest.mark.slow
def test_every_metric_of_sets_runs_over_one_shared_network(inception_file: Path) -> None:
    config = WeightsConfig(inception=inception_file)
    interval = PROTOCOL.interval.model_copy(update={"fid_resamples": 2})
    quick = PROTOCOL.model_copy(update={"interval": interval})
    metrics = {name: METRICS[name](quick, config, CPU) for name in OF_SETS}
    real, fake = pictures(2, 5), pictures(3, 5)
    for metric in metrics.values():
        assert [record.verified for record in metric.weights] == [False]
        metric.update(real, fake)
    with pytest.raises(NotComputedError, match="at least 10000"):
        metrics.pop("fd_infinity").compute()
    for name, metric in metrics.items():
        score = metric.compute()
        assert score.ci95[0] <= score.value <= score.ci95[1], name
        assert score.num_images == 5
    assert metrics["rfid"].compute().value == metrics["gfid"].compute().value
    assert metrics["sfid"].compute().details["num_features"] == 17 * 17 * 7


@pytest.mark.slow
def test_torchmetrics_over_the_same_file_agrees(inception_file: Path) -> None:
    """FID and KID, with its arguments set: no antialiasing, all pictures as one subset."""
    pool = NoTrainInceptionV3("inception", ["2048"], str(inception_file), antialias=False)
    pool.num_features = 2048
    real, fake = pictures(8, 5), pictures(9, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that features are kept
        theirs = {
            "gfid": FrechetInceptionDistance(pool),
            "kid": KernelInceptionDistance(pool, subsets=1, subset_size=5),
        }
    weights = WeightsConfig(inception=inception_file)
    quick = PROTOCOL.model_copy(
        update={
            "interval": PROTOCOL.interval.model_copy(update={"fid_resamples": 2}),
        }
    )
    for name, metric in theirs.items():
        mine = METRICS[name](quick, weights, CPU)
        mine.update(real, fake)
        metric.update(real, real=True)
        metric.update(fake, real=False)
        result = metric.compute()
        expected = float(result[0] if isinstance(result, tuple) else result)
        # its KID is a difference of float32 sums
        tolerance = 1e-3 if name == "kid" else 1e-4
        assert mine.compute().value == pytest.approx(expected, rel=tolerance), name


@pytest.mark.slow
def test_fid_of_few_pictures_equals_pytorch_fid_and_torch_fidelity(inception_file: Path) -> None:
    """From the same features; both take general roots of singular products, hence 1e-4."""
    metric = METRICS["gfid"](PROTOCOL, WeightsConfig(inception=inception_file), CPU)
    assert isinstance(metric, SetComparison)
    real, fake = metric.extract(pictures(4, 5)), metric.extract(pictures(5, 5))
    quick = PROTOCOL.model_copy(
        update={"interval": PROTOCOL.interval.model_copy(update={"fid_resamples": 2})}
    )
    value = partial(frechet_score, quick, paired=False)(real, fake).value
    stats = [fid_features_to_statistics(x.double()) for x in (real, fake)]
    theirs = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    assert value == pytest.approx(theirs, rel=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy: its disp argument, and that the product is singular
        general = calculate_frechet_distance(
            *(np.asarray(part) for side in stats for part in (side["mu"], side["sigma"]))
        )
    assert value == pytest.approx(general, rel=1e-4)
