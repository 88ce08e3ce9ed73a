"""What a regularizer is, and the autoencoder that trains with some.

Letters: B batch, C latent channels, S pixels' sides, S' the latent's grid.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pydantic import Field
from torch import Tensor, nn

from tokenizer.core.config import Config
from tokenizer.model import Autoencoder, StepOutput, crop_to
from tokenizer.spec import PartSpec

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Draw:
    """Where a regularizer's randomness comes from, so that neither processes nor interruptions change it.

    Attributes:
        keys: (B,) int64, one a sample.
        step: one key for the whole step, the same in all processes.
        factor: what the sides of pictures must stay multiples of.
    """

    keys: Tensor
    step: int
    factor: int = 1


class Regularizer(nn.Module):
    """Acts on a training pass; each of its three places does nothing unless a kind says otherwise.

    Parameters that it has (a head that predicts something from the latent) train with the model and are kept in the
    checkpoints of their phase; no model is shipped with them.
    """

    def prepare(self, x: Tensor, draw: Draw) -> Tensor:
        """Pixels x (B, 3, *S) -> pixels before the encoder, and what the decoder must reproduce."""
        return x

    def perturb(self, z: Tensor, x: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Latent z (B, C, *S') and pixels x -> what the decoder reads, and what it must reproduce."""
        return z, x

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor | None:
        """Unweighted scalar, or None; ``encode`` is x -> z, the posterior's mode, with gradient."""
        return None


class RegularizerSettings(Config):
    """What every regularizer's configuration has."""

    weight: float = Field(default=1.0, ge=0, description="of its penalty, where it has one")

    def check(self, part: PartSpec) -> None:
        """ValueError naming the field, where it cannot work on such a latent."""


class Regularized(nn.Module):
    """An autoencoder and the regularizers of a phase: the module that processes wrap and a step calls.

    Args:
        model: the autoencoder.
        regularizers: by kind, applied in order.
    """

    def __init__(self, model: Autoencoder, regularizers: Mapping[str, Regularizer]) -> None:
        super().__init__()
        self.model = model
        self.regularizers = nn.ModuleDict(regularizers)

    def forward(
        self, x: Tensor, draw: Draw, *, sample: bool = False, noise: Tensor | None = None
    ) -> StepOutput:
        """One training pass; x (B, 3, *S) in [-1, 1], S a multiple of the factors."""
        regularizers: list[Regularizer] = list(self.regularizers.values())  # type: ignore[arg-type]  # nn.Module's
        for regularizer in regularizers:
            x = regularizer.prepare(x, draw)
        h = self.model.encoder(x)
        if noise is not None:  # of the pixels' whole size, which ``prepare`` may have made smaller
            noise = crop_to(noise, tuple(h.shape[2:]))
        bottleneck = self.model.bottleneck(h, sample=sample, noise=noise)
        z = bottleneck.z
        for regularizer in regularizers:
            z, x = regularizer.perturb(z, x, draw)
        x_hat = self.model.to_pixels(z, tuple(x.shape[2:]))
        step = StepOutput(x_hat, z, bottleneck, target=x, keys=draw.keys)
        penalties = {
            kind: value
            for kind, regularizer in zip(self.regularizers, regularizers, strict=True)
            if (value := regularizer.penalty(step, self.encode)) is not None
        }
        return replace(step, penalties=penalties)

    def encode(self, x: Tensor) -> Tensor:
        """x (B, 3, *S) -> z, the posterior's mode, raw scale, with gradient.

        The bottleneck is in eval mode meanwhile: a codebook's statistics follow the pictures alone.
        """
        bottleneck = self.model.bottleneck
        mode = bottleneck.training
        bottleneck.eval()
        try:
            z: Tensor = bottleneck(self.model.encoder(x)).z
            return z
        finally:
            bottleneck.train(mode)
