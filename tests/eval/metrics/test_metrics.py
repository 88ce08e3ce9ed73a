"""Contract of every metric in the table that needs no weights, and the table itself."""

import pytest
import torch

from eval.errors import NotComputedError
from eval.metrics import METRICS
from eval.protocols import PROTOCOLS, canon_v1, protocol
from eval.weights import WeightsConfig

CPU = torch.device("cpu")
PROTOCOL = canon_v1(32, "fail")
WITHOUT_WEIGHTS = ("psnr", "ssim", "ssim_wang", "ssim_skimage", "ssim_torchmetrics")
SIZED = "ms_ssim"
READ = ("text_cer", "text_wer")


def pictures(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (5, 3, 32, 32), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", list(METRICS))
def test_runs_or_names_the_missing_file(name: str) -> None:
    if name == SIZED:
        with pytest.raises(NotComputedError, match="at least 161 pixels"):
            METRICS[name](PROTOCOL, WeightsConfig(), CPU)
        return
    if name not in WITHOUT_WEIGHTS:
        # a reader that reads from a file: the other brings its models with its package
        asked = protocol("vtbench", 32) if name in READ else PROTOCOL
        with pytest.raises(NotComputedError, match="weights"):
            METRICS[name](asked, WeightsConfig(), CPU)
        return
    metric = METRICS[name](PROTOCOL, WeightsConfig(), CPU)
    metric.update(pictures(0), pictures(1))
    score = metric.compute()
    assert score.ci95[0] <= score.value <= score.ci95[1]
    assert score.num_images == len(score.per_image) == 5
    assert metric.weights == ()


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_a_better_picture_scores_better(name: str) -> None:
    real = pictures(0)
    values = []
    for noise in (4, 40):
        metric = METRICS[name](PROTOCOL, WeightsConfig(), CPU)
        shifted = (real.int() + torch.randint(-noise, noise + 1, real.shape)).clamp(0, 255).to(torch.uint8)
        metric.update(real, shifted)
        values.append(metric.compute().value)
    assert metric.higher_is_better
    assert values[0] > values[1]


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_floats_are_refused(name: str) -> None:
    metric = METRICS[name](PROTOCOL, WeightsConfig(), CPU)
    with pytest.raises(ValueError, match="uint8"):
        metric.update(pictures(0).float() / 255, pictures(1).float() / 255)


def test_protocols_name_metrics_that_exist() -> None:
    for make in PROTOCOLS.values():
        named = make(64, "fail")
        assert set(named.reconstruction + named.generation) <= {*METRICS, *named.unavailable}
        assert not set(named.unavailable) & set(METRICS)


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_numbered_parts_in_any_order_are_one_pass(name: str) -> None:
    real, fake = pictures(0), pictures(1)
    whole, first, second = (METRICS[name](PROTOCOL, WeightsConfig(), CPU) for _ in range(3))
    whole.update(real, fake)
    second.update(real[1::2], fake[1::2], [1, 3])
    first.update(real[::2], fake[::2], [0, 2, 4])
    second.merge(first)
    assert second.compute() == whole.compute()
    second.merge(first)
    with pytest.raises(ValueError, match="counted twice"):
        second.compute()
