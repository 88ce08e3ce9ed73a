"""Latent statistics: per-channel mean and std over pictures, written into the tokenizer's spec.

``python -m tokenizer.stats source=FOLDER data.path=PICTURES data.resolution=256``
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from tokenizer.core import checkpoint
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.data.images import Images
from tokenizer.data.transforms import to_pixels
from tokenizer.loading import load_folder, spec_id_of
from tokenizer.model import Autoencoder, pad_to
from tokenizer.spec import LatentSpec


class StatsData(Config):
    """Pictures to measure on."""

    path: Path = Field(description="folder of pictures, or .tar shards")
    resolution: int = Field(default=256, ge=8, description="side of the evaluation crop in pixels")
    num_images: int = Field(default=2048, ge=1, description="evenly spread over them")
    batch: int = Field(default=16, ge=1)
    num_workers: int = Field(default=2, ge=0)


class StatsConfig(Config):
    """Measure the latent statistics of a tokenizer and write them into its folder."""

    source: Path = Field(description="a model folder or a run folder of ours")
    data: StatsData
    device: str = "cuda" if torch.cuda.is_available() else "cpu"


class Moments:
    """Per-channel sums in float64; additive over any order of batches."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sum = torch.zeros(channels, dtype=torch.float64)
        self.sum_of_squares = torch.zeros(channels, dtype=torch.float64)

    def add(self, z: Tensor) -> None:
        """Count z (B, C, ...)."""
        values = z.detach().double().transpose(0, 1).flatten(1).cpu()
        self.count += values.shape[1]
        self.sum += values.sum(dim=1)
        self.sum_of_squares += values.square().sum(dim=1)

    def mean_std(self, *, discrete: bool = False) -> tuple[list[float], list[float]]:
        """Means and standard deviations of the channels.

        ``discrete`` codes may have a channel that never changes, a bit without news: it is left at unit scale.

        Raises:
            ValueError: if a channel is not finite, or constant where it should not be.
        """
        mean = self.sum / self.count
        std = (self.sum_of_squares / self.count - mean.square()).clamp_min(0.0).sqrt()
        if discrete:
            std = torch.where(std <= 1e-8, 1.0, std)
        if not torch.isfinite(std).all() or bool((std <= 1e-8).any()):
            raise ValueError("a latent channel is constant or not finite: these weights cannot be normalised")
        return mean.tolist(), std.tolist()


@torch.no_grad()
def measure(model: Autoencoder, batches: Iterable[Tensor]) -> LatentSpec:
    """The model's spec with statistics over pictures, batches (B, 3, H, W) in [-1, 1] on the model's device."""
    part = model.spec.z
    moments = Moments(part.channels)
    for x in batches:
        h = model.encoder(pad_to(x, model.spec.padded(tuple(x.shape[2:]))))
        moments.add(model.bottleneck(h).z)
    discrete = part.codebook_size is not None
    return model.spec.with_statistics({part.name: moments.mean_std(discrete=discrete)})


def pictures(data: StatsData, device: str) -> Iterable[Tensor]:
    """Evaluation crops, evenly spread over the pictures, in batches on the device."""
    images = Images(data.path, data.resolution)
    count = min(data.num_images, len(images))
    chosen = [index * len(images) // count for index in range(count)]
    subset = torch.utils.data.Subset(images, chosen)
    rounds = [list(range(first, min(first + data.batch, count))) for first in range(0, count, data.batch)]
    for sample in torch.utils.data.DataLoader(subset, batch_sampler=rounds, num_workers=data.num_workers):
        yield to_pixels(sample["data"].to(device))


def run(config: StatsConfig) -> LatentSpec:
    """Measure and write; returns the new spec."""
    folder = checkpoint.resolve(config.source)
    checkpoint.verify(folder)
    before = spec_id_of(folder)
    model = load_folder(folder).to(config.device).eval().requires_grad_(False)
    batches = pictures(config.data, config.device)
    spec = measure(model, tqdm(batches, desc="latent statistics", unit="batch"))
    settings = checkpoint.read_config(folder) | {"spec": spec.model_dump(mode="json")}
    checkpoint.replace_config(folder, settings)
    sys.stdout.write(f"{folder}: statistics of {spec.z.channels} channels written; ")
    sys.stdout.write(f"spec {before} is now {spec_id_of(folder)}\n")
    return spec


def main() -> None:
    """The command line."""
    config = from_cli(StatsConfig, "tokenizer.stats")
    with refusals("tokenizer.stats"):
        run(config)


if __name__ == "__main__":
    main()
