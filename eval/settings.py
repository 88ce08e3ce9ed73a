"""What a person can ask of the jobs that measure: the settings of ``reconstruct``, ``generate`` and ``sweep``."""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator

from diffusion.samplers import SamplerName
from eval.data import DataConfig
from eval.probes import ProbesConfig
from eval.weights import WeightsConfig
from tokenizer.core.config import Config
from tokenizer.tiling import TilePlan

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class JobConfig(Config):
    """What every job that measures asks for."""

    data: DataConfig
    out: Path = Field(description="folder for the reports")
    protocol: str = "canon-v1"
    metrics: tuple[str, ...] | None = Field(
        default=None, description="only these; without it, the protocol's"
    )
    require: tuple[str, ...] = Field(default=(), description="metrics without which the job fails")
    weights: WeightsConfig = WeightsConfig()
    batch_size: int = Field(default=16, ge=1)
    shard_images: int = Field(
        default=256, ge=1, description="pictures whose results are kept together: what a kill can cost"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="the network computes in it; bfloat16 weights are exact in float32"
    )


class TilesConfig(Config):
    """Encode and decode in overlapping tiles (pixels)."""

    tile: int = Field(default=512, ge=1)
    overlap: int = Field(default=128, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> "TilesConfig":
        self.plan()
        return self

    def plan(self) -> TilePlan:
        """The plan that a tokenizer takes."""
        return TilePlan(self.tile, self.overlap)


class ReconstructConfig(JobConfig):
    """Measure a tokenizer: PSNR, SSIM, LPIPS, rFID, bits per pixel and images/s, under a named protocol."""

    tokenizer: str = Field(
        description="a model folder, a run, a diffusers folder, hf:org/name, a bundled name, "
        "or http://host:port#model of a running server"
    )
    out: Path = Field(description="folder for report.json, report.html and per_image.csv")
    also: tuple[str, ...] = Field(
        default=(),
        description="more protocols of the same crop and posterior, in one pass; reports in out/NAME",
    )
    tiles: TilesConfig | None = None
    gallery: int = Field(default=6, ge=1, description="pictures shown of the worst, the middle and the best")
    slices: dict[str, str] = Field(
        default={},
        description="parts with rows of their own: a file of names, or a folder of the data, by name",
    )
    health: bool = Field(
        default=False, description="shift, turn, scale, tiles, noise, generations: more encodes"
    )
    rate: bool = Field(default=False, description="latents coded to files, beside JPEG, WebP and AVIF")
    cost: bool = Field(default=False, description="latency by batch size, operations, memory, parameters")
    probes: ProbesConfig = ProbesConfig()


class SampleConfig(JobConfig):
    """What every job over a generator asks for."""

    generator: str = Field(
        description="a model folder, a run, a bundled name, or http://host:port#model of a running server"
    )
    tokenizer: str | None = Field(
        default=None, description="its tokenizer; a bundled generator brings its own"
    )
    data: DataConfig = Field(description="the training pictures: reference of gFID and of the nearest ones")
    reference: Path | None = Field(
        default=None, description="npz of ADM's layout that the metrics compare with, instead of data.path"
    )
    num_images: int = Field(default=200, ge=1, description="samples, the same number of each class")
    seed: int = Field(default=0, ge=0, description="sample i is made from seed + i and class i mod classes")
    sampler: SamplerName = "euler"
    batch_size: int = Field(default=32, ge=1)


class GenerateConfig(SampleConfig):
    """Measure a generator against the pictures it learned from, under a named protocol."""

    out: Path = Field(description="folder for report.json, report.html, grid.png and samples.npz")
    num_steps: int = Field(default=50, ge=1)
    guidance: float = 2.0
    grid_per_class: int = Field(default=4, ge=1, description="samples of each class in the grid and the page")
    grid_classes: int = Field(default=50, ge=1, description="classes shown, evenly spaced if there are more")


class SweepConfig(SampleConfig):
    """Measure a generator at every pair of guidance and steps, and plot the metrics over guidance."""

    out: Path = Field(description="folder for sweep.json, sweep.csv, report.html and a folder a pair")
    guidance: tuple[float, ...] = Field(default=(1.0, 1.5, 2.0, 3.0, 4.0), min_length=1)
    num_steps: tuple[int, ...] = Field(default=(50,), min_length=1)
    shown: int = Field(
        default=8, ge=1, description="samples of each pair on the page, the same seeds in each"
    )
    keep_samples: bool = Field(default=False, description="leave samples.npz in the folder of every pair")

    @model_validator(mode="after")
    def _once(self) -> "SweepConfig":
        for name in ("guidance", "num_steps"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}={list(values)}: each value once")
        if min(self.num_steps) < 1:
            raise ValueError(f"num_steps={list(self.num_steps)}: at least 1")
        return self
