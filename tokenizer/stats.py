"""Latent statistics: per-channel mean and std over pictures, and the projection to colours that previews draw.

``python -m tokenizer.stats source=FOLDER data.path=PICTURES data.resolution=256`` writes mean and std into the
tokenizer's spec, and the projection beside it. ``what=projection`` fits that alone: the latent space, and so its
``spec_id``, stays as it is.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from tqdm import tqdm

from tokenizer.core import checkpoint
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.data.images import Sample
from tokenizer.data.opening import open_evaluation
from tokenizer.data.transforms import to_pixels
from tokenizer.loading import load_folder, spec_id_of
from tokenizer.model import Autoencoder, pad_to
from tokenizer.projection import ColourMoments, Projection
from tokenizer.spec import LatentSpec


class StatsData(Config):
    """Pictures to measure on."""

    path: Path = Field(description="folder of pictures, or .tar shards")
    resolution: int = Field(default=256, ge=8, description="side of the evaluation crop in pixels")
    frames: int | None = Field(
        default=None,
        ge=1,
        description="frames of a clip; none: pictures, for a family of clips those of one frame",
    )
    num_images: int = Field(default=2048, ge=1, description="evenly spread over them")
    batch: int = Field(default=16, ge=1)
    num_workers: int = Field(default=2, ge=0)


class StatsConfig(Config):
    """Measure the latent statistics of a tokenizer and write them into its folder."""

    source: Path = Field(description="a model folder or a run folder of ours")
    data: StatsData
    what: Literal["all", "projection"] = Field(
        default="all", description="projection: keep mean and std, and with them the spec_id"
    )
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
def measure(
    model: Autoencoder, batches: Iterable[Tensor], *, keep_statistics: bool = False
) -> tuple[LatentSpec, Projection | None]:
    """The model's spec with statistics over pictures, and the projection of its latents to their colours.

    Args:
        model: in eval mode.
        batches: pictures or clips (B, 3, *S) in [-1, 1] on the model's device.
        keep_statistics: leave the spec as it is and fit the projection alone.

    Returns:
        The spec, and the projection: None where a latent's positions are no grid over the picture.

    Raises:
        ValueError: if a channel cannot be normalised, or the spec has no statistics to keep.
    """
    part = model.spec.z
    moments, colours = Moments(part.channels), ColourMoments(part.channels)
    for x in batches:
        x = pad_to(x, model.spec.padded(tuple(x.shape[2:])))
        z = model.bottleneck(model.to_features(x)).z
        moments.add(z)
        if part.layout == "2d":
            colours.add(z, x)
    spec = model.spec
    if not keep_statistics:
        discrete = part.codebook_size is not None
        spec = spec.with_statistics({part.name: moments.mean_std(discrete=discrete)})
    return spec, colours.fit(spec.z) if part.layout == "2d" else None


def pictures(data: StatsData, device: str) -> Iterable[Tensor]:
    """Evaluation crops, evenly spread over the pictures, in batches on the device."""
    images = open_evaluation(data.path, data.resolution, data.frames)
    count = min(data.num_images, len(images))
    chosen = [index * len(images) // count for index in range(count)]
    subset = torch.utils.data.Subset[Sample](images, chosen)  # type: ignore[arg-type]  # torch counts no data set
    rounds = [list(range(first, min(first + data.batch, count))) for first in range(0, count, data.batch)]
    for sample in torch.utils.data.DataLoader(subset, batch_sampler=rounds, num_workers=data.num_workers):
        yield to_pixels(sample["data"].to(device))


def run(config: StatsConfig) -> LatentSpec:
    """Measure and write; returns the spec as it is then.

    Raises:
        ValueError: if the folder is damaged, its latents cannot be normalised, or what=projection finds no statistics.
    """
    folder = checkpoint.resolve(config.source)
    checkpoint.verify(folder)
    before = spec_id_of(folder)
    model = load_folder(folder).to(config.device).eval().requires_grad_(False)
    keep = config.what == "projection"
    if keep and not model.spec.has_statistics:
        raise ValueError(
            f"{folder} has no latent statistics yet: measure them first, without what=projection"
        )
    data = config.data
    if data.frames is None and model.spec.time != "none":
        data = data.model_copy(update={"frames": 1})
    batches = tqdm(pictures(data, config.device), desc="latent statistics", unit="batch")
    spec, projection = measure(model, batches, keep_statistics=keep)
    settings = checkpoint.read_config(folder) | {
        "spec": spec.model_dump(mode="json"),
        "projection": projection and projection.model_dump(mode="json"),
    }
    checkpoint.replace_config(folder, settings)
    if not keep:
        sys.stdout.write(f"{folder}: statistics of {spec.z.channels} channels written; ")
        sys.stdout.write(f"spec {before} is now {spec_id_of(folder)}\n")
    if projection is not None:
        sys.stdout.write(
            f"{folder}: projection to colours written, {projection.explained:.1%} of their variance\n"
        )
    return spec


def main() -> None:
    """The command line."""
    config = from_cli(StatsConfig, "tokenizer.stats")
    with refusals("tokenizer.stats"):
        run(config)


if __name__ == "__main__":
    main()
