"""PSNR, SSIM and LPIPS of clips against closed forms and the metrics of pictures."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.models import AlexNet

from eval.errors import NotComputedError
from eval.metrics.psnr import decibels, mean_squared_error
from eval.metrics.ssim import ssim
from eval.pixels import from_uint8
from eval.protocols.video import VideoProtocol, VideoPSNRSettings, VideoSSIMSettings, video_protocol
from eval.video.frame_metrics import ClipPSNR, ClipSSIM, load_clip_lpips, shrunk
from eval.weights import WeightsConfig
from tests.eval.video.clipping import disturbed, frames

PROTOCOL = video_protocol("streaming")


def test_psnr_of_frames_and_of_a_clip_are_two_things_and_both_are_told() -> None:
    real = frames(6)
    fake = disturbed(real, torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]))
    metric = ClipPSNR(PROTOCOL)
    for clip, part in ((0, slice(0, 1)), (0, slice(1, 4)), (1, slice(4, 6))):
        metric.update(real[part], fake[part], clip)
    score = metric.compute()
    mse = mean_squared_error(real, fake)
    each = decibels(mse)
    assert score.per_frame == (tuple(each[:4].tolist()), tuple(each[4:].tolist()))
    assert score.per_clip == pytest.approx([float(each[:4].mean()), float(each[4:].mean())])
    pooled = [float(decibels(mse[:4].mean())), float(decibels(mse[4:].mean()))]
    assert score.details["per_clip"] == pytest.approx(sum(pooled) / 2)
    changed = PROTOCOL.model_copy(update={"psnr": VideoPSNRSettings(average="per_clip")})
    other = ClipPSNR(changed)
    other.update(real[:4], fake[:4], 0)
    other.update(real[4:], fake[4:], 1)
    assert other.compute().per_clip == pytest.approx(pooled)


def test_an_epsilon_ends_at_its_decibels() -> None:
    vidtok = video_protocol("vidtok")
    metric = ClipPSNR(vidtok)
    x = from_uint8(frames(2))
    metric.update(x, x, 0)
    assert metric.compute().value == pytest.approx(80.0)
    exact = ClipPSNR(PROTOCOL)
    exact.update(frames(2), frames(2), 0)
    assert exact.compute().value == math.inf


def test_tokenbench_wraps_around_as_arithmetic_on_bytes_does() -> None:
    real = frames(3, seed=1)
    fake = disturbed(real, torch.full((3,), 60.0))
    wrapped = ClipPSNR(video_protocol("tokenbench"))
    wrapped.update(real, fake, 0)
    a, b = real.numpy(), fake.numpy()
    expected = 20 * np.log10(255.0 / np.sqrt(((a - b) ** 2).mean()))
    assert wrapped.compute().value == pytest.approx(expected)
    fixed = ClipPSNR(video_protocol("tokenbench-fixed"))
    fixed.update(real, fake, 0)
    assert fixed.compute().value < 24.0 < wrapped.compute().value


def test_ssim_is_that_of_every_frame() -> None:
    real = frames(4)
    fake = disturbed(real, torch.tensor([1.0, 9.0, 20.0, 40.0]))
    metric = ClipSSIM(PROTOCOL)
    metric.update(real[:3], fake[:3], 0)
    metric.update(real[3:], fake[3:], 0)
    each = ssim(real, fake)
    assert metric.compute().value == pytest.approx(float(each.mean()))
    assert metric.compute().per_frame[0] == pytest.approx(each.tolist())


def test_large_frames_are_averaged_down_where_the_protocol_says_so() -> None:
    x = torch.rand(1, 3, 520, 600)
    assert torch.equal(shrunk(x, VideoSSIMSettings(shrink=True)), F.avg_pool2d(x, 2))
    assert shrunk(x, VideoSSIMSettings()) is x
    small = x[..., :300, :300]
    assert shrunk(small, VideoSSIMSettings(shrink=True)) is small
    with pytest.raises(ValueError, match="on floats"):
        shrunk((x * 255).to(torch.uint8), VideoSSIMSettings(shrink=True))


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random backbone under the published layout."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        features = AlexNet().features.state_dict()
    tensors = {
        f"features.{name}": torch.randn(value.shape, generator=generator) * 0.05
        for name, value in features.items()
    }
    file = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(tensors, file)
    return file


def test_lpips_is_zero_for_equal_clips_and_its_map_is_another_number(alexnet: Path) -> None:
    weights = WeightsConfig(alexnet=alexnet)
    real = frames(2, side=48)
    fake = disturbed(real, torch.tensor([10.0, 40.0]))
    found = {}
    for name in ("streaming", "wfvae"):
        protocol: VideoProtocol = video_protocol(name)
        metric = load_clip_lpips(protocol, weights, torch.device("cpu"), net="alex")
        forms = (real, fake) if metric.domain == "uint8" else (from_uint8(real), from_uint8(fake))
        metric.update(*forms, 0)
        metric.update(forms[0], forms[0], 1)
        score = metric.compute()
        assert score.per_clip[1] == 0.0
        assert score.per_frame[0][0] < score.per_frame[0][1]
        assert not metric.weights[0].verified
        found[name] = score.per_clip[0]
    assert found["streaming"] != pytest.approx(found["wfvae"], rel=1e-6)
    with pytest.raises(NotComputedError, match="vgg16"):
        load_clip_lpips(PROTOCOL, weights, torch.device("cpu"), net="vgg")
