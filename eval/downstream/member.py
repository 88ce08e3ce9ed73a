"""One tokenizer of the job: its latents, its generator, samples, and what they are worth.

Letters: N pictures, R resolution.
"""

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffusion.latents import LatentsConfig, encode_folder
from diffusion.pipeline import Pipeline
from diffusion.train import train
from eval.data import DataConfig, Pictures
from eval.downstream.record import PatchNumbers
from eval.downstream.settings import DownstreamConfig
from eval.measures.patch_frechet import PatchDistance, PatchFrechet
from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from eval.protocols import protocol
from tokenizer.core.tracking import SCALARS, read_scalars
from tokenizer.loading import load
from tokenizer.model import Autoencoder

LOSS = "loss/total"
PROTOCOL = "canon-v1"


@dataclass(frozen=True, slots=True)
class Photographs:
    """The pictures that every row is measured with.

    Attributes:
        reference: (N, 3, R, R) uint8, those that the generators learn from.
        held_out: (N, 3, R, R) uint8, that no tokenizer of the job was chosen by.
    """

    reference: Tensor
    held_out: Tensor

    @classmethod
    def read(cls, config: DownstreamConfig) -> "Photographs":
        """Read both sets, cropped by the protocol ``canon-v1``, evenly spread; EvaluationError if that fails."""
        data = config.data
        return cls(
            _pictures(data.training, config, data.max_reference),
            _pictures(data.held_out, config, data.max_held_out),
        )

    def measure(self) -> PatchFrechet:
        """The patch distance with the reference in it."""
        measure = PatchFrechet()
        for part in torch.split(self.reference, 256):
            measure.update_real(part)
        return measure


@dataclass(frozen=True, slots=True)
class Generated:
    """A trained generator and what it made.

    Attributes:
        samples: (N, 3, R, R) uint8.
        latent_shape: (C, *S').
        num_parameters: of its network.
        loss: of its last log entry; None if it logged none.
    """

    samples: Tensor
    latent_shape: tuple[int, ...]
    num_parameters: int
    loss: float | None


def generate(
    tokenizer: Autoencoder, config: DownstreamConfig, folder: Path, device: torch.device
) -> Generated:
    """Encode the training pictures, train a generator on them and sample it; whatever was finished is kept.

    Raises:
        ValueError: if its latents are none that a generator takes.
    """
    data, latents = config.data, folder / "latents"
    encode_folder(
        tokenizer,
        LatentsConfig.parse(
            {
                "tokenizer": str(folder),  # loaded already; its identity is in what it encodes
                "data": {
                    "path": str(data.training),
                    "resolution": config.resolution,
                    "num_workers": data.num_workers,
                },
                "out": str(latents),
                "flip": data.flip,
                "batch": config.batch_size,
                "device": str(device),
            }
        ),
    )
    checkpoint = train(config.training(latents, folder / "run"))
    pipeline = Pipeline.load(checkpoint, tokenizer=tokenizer, device=str(device))
    entries = [entry for entry in read_scalars(folder / "run" / SCALARS) if LOSS in entry]
    network = pipeline.denoiser
    assert isinstance(network, torch.nn.Module)
    return Generated(
        samples=sample(pipeline, config),
        latent_shape=tuple(network.latent_shape),
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        loss=float(entries[-1][LOSS]) if entries else None,
    )


def sample(pipeline: Pipeline, config: DownstreamConfig) -> Tensor:
    """Samples (N, 3, R, R) uint8: class i mod classes from seed + i, so that each can be made again alone."""
    classes, parts = len(pipeline.class_names), []
    for first in range(0, config.num_samples, config.batch_size):
        labels = [
            index % classes for index in range(first, min(first + config.batch_size, config.num_samples))
        ]
        pixels = pipeline.generate(
            labels,
            config.seed + first,
            config.num_steps,
            config.guidance,
            sampler=config.sampler,
            output="pixels",
            batch=config.batch_size,
        )
        parts.append(to_uint8(pixels).cpu())
    return torch.cat(parts)


@torch.inference_mode()
def reconstruct(tokenizer: Autoencoder, pictures: Tensor, batch_size: int, device: torch.device) -> Tensor:
    """Pictures (N, 3, R, R) uint8 through the tokenizer and back, the same."""
    parts = [
        to_uint8(tokenizer.decode(tokenizer.encode(from_uint8(part).to(device)))).cpu()
        for part in torch.split(pictures, batch_size)
    ]
    return torch.cat(parts)


def numbers(distance: PatchDistance) -> PatchNumbers:
    """As the record keeps them."""
    return PatchNumbers(mean=distance.mean, scales=distance.scales)


def distance_of(samples: Tensor, measure: PatchFrechet) -> PatchNumbers:
    """How far samples (N, 3, R, R) uint8 are from the reference in ``measure``, which stays as it is."""
    measure = copy.deepcopy(measure)
    for part in torch.split(samples, 256):
        measure.update_fake(part)
    return numbers(measure.compute())


def psnr_of(real: Tensor, fake: Tensor) -> float:
    """Mean PSNR in dB of uint8 pictures."""
    return float(decibels(mean_squared_error(real, fake).clamp_min(1e-10)).mean())


def load_tokenizer(source: str, device: torch.device = torch.device("cpu")) -> Autoencoder:  # noqa: B008  # a value
    """A tokenizer of ours.

    Raises:
        ValueError: if there is none, or it has no latent statistics.
    """
    tokenizer = load(source, device=str(device))
    if not tokenizer.spec.has_statistics:
        raise ValueError(f"{source} has no latent statistics: measure them with `python -m tokenizer.stats`")
    return tokenizer


def values_of(shape: tuple[int, ...]) -> int:
    """Numbers of one latent."""
    return math.prod(shape)


def _pictures(path: Path, config: DownstreamConfig, most: int) -> Tensor:
    data = DataConfig(path=path, resolution=config.resolution, max_images=most)
    named = protocol(PROTOCOL, config.resolution)
    pictures = Pictures.open(data)
    return torch.cat([batch.data for batch in pictures.batches(named, config.batch_size, data.num_workers)])
