"""Codes placed before a phase begins: the centres of the clusters of what the encoder gives, over many pictures.

Source: Zhu et al. 2024, Stabilize the Latent Space for Image Autoregressive Modeling: A Unified Perspective (DiGIT),
arXiv 2410.12490, section 4 (k-means of frozen features).

Letters: B batch, C channels, N features.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from tokenizer.core.config import Config
from tokenizer.core.ema import EMA
from tokenizer.layers.codebook import Codebook, to_rows
from tokenizer.model import Autoencoder
from tokenizer.stats import StatsData, pictures


class ClustersConfig(Config):
    """How codes are placed before a phase begins."""

    images: int = Field(
        default=4096, ge=1, description="pictures whose features are clustered, evenly spread"
    )
    features: int = Field(default=262_144, ge=1, description="of them at most, evenly spread")
    rounds: int = Field(default=30, ge=1, description="of Lloyd's algorithm")


def begin_with_clusters(
    model: Autoencoder, ema: EMA, path: Path, resolution: int, config: ClustersConfig, device: str
) -> None:
    """Place the codes by pictures under ``path``; the average takes them as they are, and statistics are cleared.

    Every process of a run does it with the same pictures.

    Raises:
        ValueError: if the model has no codebook to place.
    """
    codebook_of(model)
    data = StatsData(path=path, resolution=resolution, num_images=config.images, num_workers=0)
    place_codes(model, pictures(data, device), config)
    ema.adopt(model, "bottleneck.")
    model.spec, model.projection = model.spec.with_statistics(None), None


@torch.no_grad()
def place_codes(model: Autoencoder, batches: Iterable[Tensor], config: ClustersConfig) -> None:
    """Put the codes of the model's codebook to the centres of its encoder's features; modes stay as they are.

    Args:
        model: on the device of the pictures.
        batches: pictures (B, 3, H, W) in [-1, 1], sides multiples of the factor.
        config: how many, and how long.

    Raises:
        ValueError: if the model has no codebook to place.
    """
    book = codebook_of(model)
    modes = [(module, module.training) for module in model.encoder.modules()]
    model.encoder.eval()
    rows = torch.cat([to_rows(model.encoder(x)) for x in batches])  # (N, C)
    for module, mode in modes:
        module.training = mode
    if len(rows) > config.features:
        rows = rows[torch.arange(config.features, device=rows.device) * len(rows) // config.features]
    book.place_at_centres(rows, config.rounds)


def codebook_of(model: Autoencoder) -> Codebook:
    """The one codebook of a model.

    Raises:
        ValueError: if it has none.
    """
    book = getattr(model.bottleneck, "book", None)
    if not isinstance(book, Codebook):
        raise ValueError("clusters places the codes of bottleneck vq; this one has no codebook of that kind")
    return book
