"""Latents of single frames equal those of a given image tokenizer, so that what was built on those takes these.

Letters: B clips, C latent channels, T frames, H W rows and columns.
"""

import functools
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tokenizer.layers.precision import full_precision
from tokenizer.loading import load
from tokenizer.model import Autoencoder, StepOutput
from tokenizer.regularizers.base import Encode, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec


@functools.lru_cache(maxsize=2)
def image_tokenizer(source: str) -> Autoencoder:
    """The image tokenizer of a source, once for all who ask for it; in eval mode, without gradients.

    It is no part of any module, so that checkpoints, averages and optimizers never see its weights.

    Raises:
        ValueError: if it is one of clips, or has no statistics.
    """
    model = load(source)
    if model.spec.time != "none":
        raise ValueError(f"source={source} is a tokenizer of clips; an image tokenizer is needed")
    if not model.spec.has_statistics:
        raise ValueError(f"source={source} has no latent statistics yet: run tokenizer.stats on it first")
    return model.eval().requires_grad_(False)


class ImageCompatibility(Regularizer):
    """Mean squared error between the latent of a clip's first frame and the image tokenizer's of that frame.

    Both are the posterior's mode, and count in the image tokenizer's deviations a channel.

    Source: Zhao et al. 2024, CV-VAE: A Compatible Video VAE for Latent Generative Video Models, arXiv 2405.20279,
    section 3.2 (latent space regularization; theirs compares what the decoders make of both latents).
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor:
        """Scalar >= 0."""
        frame = step.target[:, :, :1]
        image = image_tokenizer(self.source).to(frame.device)
        with full_precision(frame.device):
            with torch.no_grad():
                wanted = image.spec.normalize(image.bottleneck(image.to_features(frame[:, :, 0].float())).z)
            told = image.spec.normalize(encode(frame)[:, :, 0].float())
            return F.mse_loss(told, wanted)


class ImageCompatibilityConfig(RegularizerSettings):
    """Latents of single frames are those of an image tokenizer (CV-VAE, arXiv 2405.20279)."""

    kind: Literal["image_compatibility"] = "image_compatibility"
    source: str = Field(description="the image tokenizer: a folder, hf:org/name, a bundled name")

    def check(self, part: PartSpec) -> None:
        """ValueError naming the field, where it cannot work on such a latent."""
        if part.layout != "3d":
            raise ValueError("image_compatibility needs a family of clips")
        image = image_tokenizer(self.source).spec.z
        for name in ("channels", "spatial_factor"):
            ours, theirs = getattr(part, name), getattr(image, name)
            if ours != theirs:
                raise ValueError(
                    f"image_compatibility: {name} is {ours} here and {theirs} in source={self.source}"
                )

    def build(self, part: PartSpec) -> ImageCompatibility:
        """The regularizer."""
        return ImageCompatibility(self.source)
