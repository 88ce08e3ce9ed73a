"""Every metric by the name that reports print. A new one is a file here, a line below, and a test."""

from collections.abc import Callable
from functools import partial

import torch

from eval.metrics.cmmd import load_cmmd
from eval.metrics.faces import load_face_similarity
from eval.metrics.fid import load_fd_dinov2, load_fid, load_sfid
from eval.metrics.inception_score import load_inception_score
from eval.metrics.infinity import load_fd_infinity
from eval.metrics.kid import load_kid
from eval.metrics.lpips import load_lpips
from eval.metrics.manifold import load_precision_recall
from eval.metrics.psnr import PSNR
from eval.metrics.score import Metric, Score
from eval.metrics.ssim import MSSSIM, SSIM
from eval.metrics.text import load_text_error
from eval.protocols import SSIM_IMPLEMENTATIONS, EvaluationProtocol
from eval.weights import WeightsConfig

METRICS: dict[str, Callable[[EvaluationProtocol, WeightsConfig, torch.device], Metric]] = {
    "psnr": lambda protocol, weights, device: PSNR(protocol),
    "ssim": lambda protocol, weights, device: SSIM(protocol),
    "ssim_wang": lambda protocol, weights, device: SSIM(protocol, SSIM_IMPLEMENTATIONS["wang"]),
    "ssim_skimage": lambda protocol, weights, device: SSIM(protocol, SSIM_IMPLEMENTATIONS["skimage"]),
    "ssim_torchmetrics": lambda protocol, weights, device: SSIM(
        protocol, SSIM_IMPLEMENTATIONS["torchmetrics"]
    ),
    "ms_ssim": lambda protocol, weights, device: MSSSIM(protocol),
    "lpips_vgg": partial(load_lpips, net="vgg"),
    "lpips_alex": partial(load_lpips, net="alex"),
    "rfid": partial(load_fid, paired=True),
    "gfid": partial(load_fid, paired=False),
    "sfid": load_sfid,
    "fd_dinov2": load_fd_dinov2,
    "kid": load_kid,
    "cmmd": load_cmmd,
    "fd_infinity": load_fd_infinity,
    "inception_score": load_inception_score,
    "precision": partial(load_precision_recall, which="precision"),
    "recall": partial(load_precision_recall, which="recall"),
    "text_cer": partial(load_text_error, unit="characters"),
    "text_wer": partial(load_text_error, unit="words"),
    "face_similarity": load_face_similarity,
}

__all__ = ["METRICS", "Metric", "Score"]
