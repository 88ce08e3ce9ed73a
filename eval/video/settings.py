"""What a job over video is asked for."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from eval.settings import TilesConfig
from eval.video.clips import VideoDataConfig
from eval.video.i3d import VideoWeights
from tokenizer.core.config import Config


class ReconstructVideoConfig(Config):
    """Measure a tokenizer on video: PSNR, SSIM, LPIPS, flicker, rFVD, frames/s, memory, under a named protocol."""

    tokenizer: str = Field(description="a model folder, a run, a diffusers folder or a bundled name")
    data: VideoDataConfig
    out: Path = Field(description="folder for report.json, report.html, tables and films")
    protocol: str = "streaming"
    metrics: tuple[str, ...] | None = Field(
        default=None, description="only these; without it, the protocol's"
    )
    require: tuple[str, ...] = Field(default=(), description="metrics without which the job fails")
    weights: VideoWeights = VideoWeights()
    piece_frames: int = Field(
        default=16, ge=1, description="frames given at a time where a whole file is one clip"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    tiles: TilesConfig | None = None
    floor: bool = Field(default=True, description="measure the floor at the same number of values too")
    memory_frames: tuple[int, ...] = Field(
        default=(), description="measure the peak memory of streams of so many frames, for a plot"
    )
    gallery: int = Field(default=1, ge=0, description="clips shown of the worst, the middle and the best")
    shown_frames: int = Field(default=48, ge=1, description="at most, of a clip on the page")
