"""Every metric by the name that reports print. A new one is a file here, a line below, and a test."""

from collections.abc import Callable
from functools import partial

import torch

from eval.metrics.fid import load_fid
from eval.metrics.lpips import load_lpips
from eval.metrics.psnr import PSNR
from eval.metrics.score import Metric, Score
from eval.metrics.ssim import SSIM
from eval.protocols import EvaluationProtocol
from eval.weights import WeightsConfig

METRICS: dict[str, Callable[[EvaluationProtocol, WeightsConfig, torch.device], Metric]] = {
    "psnr": lambda protocol, weights, device: PSNR(protocol),
    "ssim": lambda protocol, weights, device: SSIM(protocol),
    "lpips_vgg": partial(load_lpips, net="vgg"),
    "lpips_alex": partial(load_lpips, net="alex"),
    "rfid": partial(load_fid, paired=True),
    "gfid": partial(load_fid, paired=False),
}

__all__ = ["METRICS", "Metric", "Score"]
