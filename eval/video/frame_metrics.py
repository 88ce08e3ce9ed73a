"""PSNR, SSIM and LPIPS of clips: every frame has its value, and a clip its own.

Letters: T frames, H W rows and columns.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval.features import full_float32
from eval.metrics.lpips import load_network
from eval.metrics.psnr import decibels, mean_squared_error
from eval.metrics.ssim import ssim
from eval.pixels import from_uint8
from eval.protocols import Domain
from eval.protocols.video import Net, VideoProtocol, VideoPSNRSettings, VideoSSIMSettings
from eval.video.score import ClipScore, FrameValues, check_frames, clip_score
from eval.weights import WeightsConfig, WeightsRecord

SHRINK_TO = 256


class ClipPSNR:
    """Mean over clips of the mean of their frames' PSNR, or of the PSNR of their pooled error; both are told."""

    higher_is_better = True
    weights: tuple[WeightsRecord, ...] = ()

    def __init__(self, protocol: VideoProtocol) -> None:
        self.protocol = protocol
        self._mse = FrameValues()

    @property
    def domain(self) -> Domain:
        """The form of the frames."""
        return self.protocol.psnr.domain

    def update(self, real: Tensor, fake: Tensor, clip: int) -> None:
        """Add frames (T, 3, H, W) of a clip."""
        self._mse.add(frame_errors(real, fake, self.protocol.psnr), clip)

    def compute(self) -> ClipScore:
        """The score in dB."""
        errors = self._mse.clips()
        frames = [decibels(mse) for mse in errors]
        of_frames = [float(values.mean()) for values in frames]
        pooled = [float(decibels(mse.mean())) for mse in errors]
        chosen = of_frames if self.protocol.psnr.average == "per_frame" else pooled
        details: dict[str, float | int | str] = {
            "unit": "dB",
            "average": self.protocol.psnr.average,
            "per_frame": sum(of_frames) / len(of_frames),
            "per_clip": sum(pooled) / len(pooled),
        }
        return clip_score(chosen, frames, self.protocol.interval, details)


def frame_errors(real: Tensor, fake: Tensor, settings: VideoPSNRSettings) -> Tensor:
    """Mean squared error of each frame in squared grey levels, float64 (T,)."""
    check_frames(real, fake, settings.domain)
    if settings.wraps and settings.domain == "uint8":
        change = real - fake  # uint8: modulo 256, and so is its square
        mse = (change * change).flatten(1).double().mean(dim=1)
    else:
        mse = mean_squared_error(real, fake, settings.domain)
    return mse + settings.epsilon * 255.0**2


class ClipSSIM:
    """Mean over clips of the mean of their frames' SSIM."""

    higher_is_better = True
    weights: tuple[WeightsRecord, ...] = ()

    def __init__(self, protocol: VideoProtocol) -> None:
        self.protocol = protocol
        self._values = FrameValues()

    @property
    def domain(self) -> Domain:
        """The form of the frames."""
        return self.protocol.ssim.frame.domain

    def update(self, real: Tensor, fake: Tensor, clip: int) -> None:
        """Add frames (T, 3, H, W) of a clip."""
        settings = self.protocol.ssim
        real, fake = (shrunk(x, settings) for x in (real, fake))
        self._values.add(ssim(real, fake, settings.frame), clip)

    def compute(self) -> ClipScore:
        """The score, at most 1."""
        frames = self._values.clips()
        return clip_score([float(values.mean()) for values in frames], frames, self.protocol.interval)


def shrunk(x: Tensor, settings: VideoSSIMSettings) -> Tensor:
    """Frames (T, 3, H, W) averaged down to about 256 rows or columns, where the settings ask for it.

    Raises:
        ValueError: for uint8, which has no averages.
    """
    factor = max(1, round(min(x.shape[-2:]) / SHRINK_TO)) if settings.shrink else 1
    if factor == 1:
        return x
    if not x.is_floating_point():
        raise ValueError("SSIM that shrinks frames is defined on floats: choose the domain clamped")
    return F.avg_pool2d(x, factor)


class ClipLPIPS:
    """Mean over clips of the mean of their frames' distance in the features of one backbone."""

    higher_is_better = False

    def __init__(
        self,
        protocol: VideoProtocol,
        network: nn.Module,
        weights: tuple[WeightsRecord, ...],
        device: torch.device,
    ) -> None:
        self.protocol = protocol
        self.network = network.to(device)
        self.weights = weights
        self.device = device
        self._values = FrameValues()

    @property
    def domain(self) -> Domain:
        """The form of the frames."""
        return self.protocol.lpips.domain

    @torch.inference_mode()
    def update(self, real: Tensor, fake: Tensor, clip: int) -> None:
        """Add frames (T, 3, H, W) of a clip, one through the network at a time."""
        check_frames(real, fake, self.domain)
        for x, x_hat in zip(torch.split(real, 1), torch.split(fake, 1), strict=True):
            x, x_hat = x.to(self.device), x_hat.to(self.device)
            if self.domain == "uint8":
                x, x_hat = from_uint8(x), from_uint8(x_hat)
            with full_float32():
                distance = self.network(x, x_hat)  # (1, 1, 1, 1), or (1, 1, H, W) where it is a map
            self._values.add(distance.flatten().mean().view(1), clip)

    def compute(self) -> ClipScore:
        """The score, 0 for equal clips."""
        frames = self._values.clips()
        return clip_score([float(values.mean()) for values in frames], frames, self.protocol.interval)


def load_clip_lpips(
    protocol: VideoProtocol, weights: WeightsConfig, device: torch.device, *, net: Net
) -> ClipLPIPS:
    """The metric over one backbone.

    Raises:
        NotComputedError: if its weights are not on this machine.
    """
    network, records = load_network(net, weights)
    network.spatial = protocol.lpips.spatial  # type: ignore[assignment]  # a switch of the lpips package
    return ClipLPIPS(protocol, network, records, device)
