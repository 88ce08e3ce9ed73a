"""Protocols for video: how clips become numbers, under names that are never changed, with a hash beside every number.

What decides a number beyond those of pictures: how files are cut into clips, whether an error is averaged over frames
or over a clip, whether a lossy codec stands between, which network sees a clip for rFVD and what it is given. Each
function says where the protocol was read, what is unusual about it, and in what this copy departs from the original.
The facts were read in the public code named; none of that code is here.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from eval.protocols.settings import (
    Crop,
    Domain,
    IntervalSettings,
    Quantization,
    SSIMSettings,
    _hashed,
)
from tokenizer.core.config import Config

I3DVariant = Literal["styleganv", "videogpt"]
Net = Literal["vgg", "alex"]
OnCorrupt = Literal["fail", "skip"]


class VideoPSNRSettings(Config):
    """PSNR of every frame and then the mean of a clip's frames, or of a clip's pooled error; then the mean of clips.

    ``epsilon`` is added to the mean squared error of values in [0, 1]. ``wraps``: differences and squares of uint8 are
    taken modulo 256, as arithmetic on uint8 arrays does.
    """

    average: Literal["per_frame", "per_clip"] = "per_frame"
    domain: Domain = "uint8"
    epsilon: float = Field(default=0.0, ge=0)
    wraps: bool = False


class VideoSSIMSettings(Config):
    """SSIM of every frame; ``shrink`` averages large frames down first, by round(short side / 256)."""

    frame: SSIMSettings = SSIMSettings()
    shrink: bool = False


class VideoLPIPSSettings(Config):
    """LPIPS 0.1 of every frame; ``spatial`` averages the map at the size of the frame, not each layer's own."""

    version: Literal["0.1"] = "0.1"
    domain: Domain = "uint8"
    spatial: bool = False


class FVDSettings(Config):
    """Frechet distance of 400 logits of an I3D network over clips: rFVD.

    ``resize``: ``square`` squeezes frames to 224x224; ``short_side`` brings the short side to 224 and cuts the centre.
    Both are bilinear without antialiasing. ``low`` and ``high`` are what black and white are given as. ``group``: the
    distance is taken over every so many clips, and those distances averaged, which is no distance between sets.
    """

    variant: I3DVariant = "styleganv"
    resize: Literal["square", "short_side"] = "square"
    low: float = -1.0
    high: float = 1.0
    domain: Domain = "uint8"
    max_frames: int | None = Field(default=None, ge=9)
    group: int | None = Field(default=None, ge=2)


class FlickerSettings(Config):
    """Mean absolute change, from frame to frame, of the error: 0 where the error stands still. In grey levels."""

    domain: Domain = "uint8"


class VideoProtocol(Config):
    """How video files become numbers. Size and length of the clips belong to it."""

    name: str
    resolution: int | None = Field(
        default=None, ge=16, description="side of the square; None: frames as they are"
    )
    frames: int | None = Field(default=None, ge=1, description="of one clip; None: the whole file is one")
    fps: float | None = Field(default=None, gt=0, description="every round(rate / fps)-th frame is taken")
    last: Literal["repeat", "drop"] = "repeat"
    windows: Literal["all", "first"] = "all"
    crop: Crop = "adm"
    posterior: Literal["mode", "sample"] = "mode"
    quantization: Quantization = "round_uint8"
    through: Literal["memory", "h264"] = "memory"
    on_corrupt: OnCorrupt = "fail"
    psnr: VideoPSNRSettings = VideoPSNRSettings()
    ssim: VideoSSIMSettings = VideoSSIMSettings()
    lpips: VideoLPIPSSettings = VideoLPIPSSettings()
    fvd: FVDSettings = FVDSettings()
    flicker: FlickerSettings = FlickerSettings()
    interval: IntervalSettings = IntervalSettings()
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips_vgg", "flicker")

    @property
    def hash(self) -> str:
        """The first 12 digits of the sha256 of the canonical JSON, made as those of protocols for pictures."""
        canonical = json.dumps(_hashed(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def lines(self) -> list[tuple[str, str]]:
        """(dotted name, value) of every setting, for people."""
        return _lines(self.model_dump(mode="json"))


def streaming(resolution: int | None, on_corrupt: OnCorrupt) -> VideoProtocol:
    """Ours: every file whole, in the size it has, streamed in pieces; rounded uint8; means of frames, then of clips.

    A number that a service would show. With a resolution frames are cropped to it as ``canon-v1`` does.
    """
    return VideoProtocol(name="streaming", resolution=resolution, on_corrupt=on_corrupt)


def vidtok(resolution: int | None, on_corrupt: OnCorrupt) -> VideoProtocol:
    """VidTok (microsoft/VidTok): files cut into clips of 17 frames at about 30 a second, floats, 256x256.

    Quirks: the last clip of a file repeats its last frame; frames are resized as float tensors and never rounded; PSNR
    is at most 80 dB by its epsilon; SSIM as the piq package has it. LPIPS is of VGG. It publishes FVD without code, so
    that rFVD is not among its metrics here. Departures: none known.
    Source: Tang et al. 2024, VidTok: A Versatile and Open-Source Video Tokenizer, arXiv 2412.13061, section 4.
    """
    return VideoProtocol(
        name="vidtok",
        resolution=resolution or 256,
        frames=17,
        fps=30.0,
        crop="tensor_bilinear",
        on_corrupt=on_corrupt,
        psnr=VideoPSNRSettings(domain="clamped", epsilon=1e-8),
        ssim=VideoSSIMSettings(frame=SSIMSettings(high=1.0, data_range=1.0, domain="clamped"), shrink=True),
        lpips=VideoLPIPSSettings(domain="clamped"),
        metrics=("psnr", "ssim", "lpips_vgg"),
    )


def tokenbench(resolution: int | None, on_corrupt: OnCorrupt) -> VideoProtocol:
    """TokenBench (NVlabs/TokenBench): whole videos, pooled PSNR, rFVD of the first 300 frames, through lossy H.264.

    Quirks: reconstructions are written as H.264 and read back before anything is measured; PSNR subtracts uint8 arrays,
    whose differences and squares wrap around at 256, so that it is never below 24 dB. ``tokenbench-fixed`` mends both.
    Departures: the quality of the codec is ours (CRF 18); equal videos have an infinite PSNR; files are expected at
    the size (short side at most 1080) that its preparation gives them.
    Source: NVIDIA et al. 2025, Cosmos World Foundation Model Platform for Physical AI, arXiv 2501.03575, section 4.
    """
    frame = SSIMSettings(window=7, weights="uniform", covariance="sample")
    return VideoProtocol(
        name="tokenbench",
        resolution=resolution,
        through="h264",
        on_corrupt=on_corrupt,
        psnr=VideoPSNRSettings(average="per_clip", wraps=True),
        ssim=VideoSSIMSettings(frame=frame),
        fvd=FVDSettings(resize="short_side", max_frames=300),
        metrics=("psnr", "ssim", "lpips_vgg", "rfvd_styleganv"),
    )


def tokenbench_fixed(resolution: int | None, on_corrupt: OnCorrupt) -> VideoProtocol:
    """``tokenbench`` without the codec between, and with differences that do not wrap around."""
    changes = {
        "name": "tokenbench-fixed",
        "through": "memory",
        "psnr": VideoPSNRSettings(average="per_clip"),
    }
    return tokenbench(resolution, on_corrupt).model_copy(update=changes)


def wfvae(resolution: int | None, on_corrupt: OnCorrupt) -> VideoProtocol:
    """WF-VAE (PKU-YuanGroup/WF-VAE): per frame on [0, 1], LPIPS of AlexNet as a map, rFVD over two clips at a time.

    Quirk: a Frechet distance is taken within every batch of two clips and the distances averaged, which is not rFVD
    and depends on the order; ``wfvae-fixed`` takes it over all clips. Departures: clips are the first 33 frames, the
    length of its tables of speed, at 256x256.
    Source: Li et al. 2024, WF-VAE: Enhancing Video VAE by Wavelet-Driven Energy Flow, arXiv 2411.17459, section 4.
    """
    return VideoProtocol(
        name="wfvae",
        resolution=resolution or 256,
        frames=33,
        windows="first",
        on_corrupt=on_corrupt,
        psnr=VideoPSNRSettings(domain="clamped"),
        ssim=VideoSSIMSettings(frame=SSIMSettings(high=1.0, data_range=1.0, domain="clamped")),
        lpips=VideoLPIPSSettings(domain="clamped", spatial=True),
        fvd=FVDSettings(domain="clamped", group=2),
        metrics=("psnr", "ssim", "lpips_alex", "rfvd_styleganv"),
    )


def wfvae_fixed(resolution: int | None, on_corrupt: OnCorrupt) -> VideoProtocol:
    """``wfvae`` with one Frechet distance over all clips."""
    changes = {"name": "wfvae-fixed", "fvd": FVDSettings(domain="clamped")}
    return wfvae(resolution, on_corrupt).model_copy(update=changes)


def magvit_ucf(resolution: int | None, on_corrupt: OnCorrupt) -> VideoProtocol:
    """MAGVIT's task on UCF-101 as later papers measure it: the first 17 frames at 128x128, rFVD of VideoGPT's I3D.

    Quirk: VideoGPT's code gives the network values in [-0.5, 0.5], where it was trained on [-1, 1];
    ``magvit-ucf-fixed`` gives it those. PSNR and LPIPS stand beside it as BSQ's table has them. Departures: which
    files are measured is the caller's choice (the papers: testlist01).
    Sources: Yu et al. 2023, MAGVIT: Masked Generative Video Transformer, arXiv 2212.05199, section 4; Yan et al. 2021,
    VideoGPT, arXiv 2104.10157.
    """
    return VideoProtocol(
        name="magvit-ucf",
        resolution=resolution or 128,
        frames=17,
        windows="first",
        on_corrupt=on_corrupt,
        fvd=FVDSettings(variant="videogpt", resize="short_side", low=-0.5, high=0.5),
        metrics=("psnr", "ssim", "lpips_alex", "rfvd_videogpt"),
    )


def magvit_ucf_fixed(resolution: int | None, on_corrupt: OnCorrupt) -> VideoProtocol:
    """``magvit-ucf`` with the range that the network was trained on."""
    fvd = FVDSettings(variant="videogpt", resize="short_side")
    return magvit_ucf(resolution, on_corrupt).model_copy(update={"name": "magvit-ucf-fixed", "fvd": fvd})


VIDEO_PROTOCOLS: dict[str, Callable[[int | None, OnCorrupt], VideoProtocol]] = {
    "streaming": streaming,
    "magvit-ucf": magvit_ucf,
    "magvit-ucf-fixed": magvit_ucf_fixed,
    "tokenbench": tokenbench,
    "tokenbench-fixed": tokenbench_fixed,
    "vidtok": vidtok,
    "wfvae": wfvae,
    "wfvae-fixed": wfvae_fixed,
}


def video_protocol(name: str, resolution: int | None = None, on_corrupt: OnCorrupt = "fail") -> VideoProtocol:
    """The protocol called ``name``, at a resolution or its own.

    Raises:
        ValueError: listing the protocols there are.
    """
    if name not in VIDEO_PROTOCOLS:
        raise ValueError(f"no protocol {name!r} for video: there are {', '.join(VIDEO_PROTOCOLS)}")
    if resolution is not None and resolution < 16:
        raise ValueError(f"data.resolution={resolution}: the protocols need at least 16 pixels")
    return VIDEO_PROTOCOLS[name](resolution, on_corrupt)


def _lines(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:  # JSON
    found: list[tuple[str, str]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += _lines(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, ", ".join(value) if isinstance(value, list) else str(value)))
    return found
