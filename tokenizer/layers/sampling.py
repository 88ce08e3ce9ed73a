"""Decoders that draw the pixels given the latent: they follow a velocity from noise to the picture.

x_t = (1 - t) x + t eps and v = eps - x on pixels x in [-1, 1]; t = 1 is noise. What the latent does not say is drawn,
what it says is kept, and the same noise gives the same picture.

Sources: Zhao et al. 2024, Epsilon-VAE: Denoising as Visual Decoding, arXiv 2410.04081; Birodkar et al. 2024, Sample
what you can't compress (SWYCC), arXiv 2409.02529.

Letters: B batch, C latent channels, S the picture's size, S' the latent's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core import seeding
from tokenizer.layers.flow import interpolate, lift, sample, time_grid, velocity_target

Predicts = Literal["velocity", "picture"]
NOISE_SEED = 0  # of a call that brings no generator
EARLIEST = 0.05  # a predicted picture becomes a velocity by division by t, no smaller than this


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a decoder made of latents in training.

    Attributes:
        x_hat: (B, 3, *S) what losses of pixels and adversaries see.
        extras: what else its losses need, by name.
    """

    x_hat: Tensor
    extras: dict[str, Tensor] = field(default_factory=dict)


class SamplingDecoder(nn.Module):
    """A network of (x_t, t, condition) and what makes a decoder of it.

    A family writes ``forward``; it may write ``condition``, what is read of the latent once for all steps, ``seen``,
    what losses of pixels see in training, and ``drift``, what sampling follows.

    Args:
        num_steps: Euler steps of a call that does not say.
        predicts: what ``forward`` gives: the velocity, or the clean picture that a velocity follows from (where a
            patch has more values than the network is wide, noise does not fit through it).
        time_mean, time_std: of the normal whose logistic function is the training time.
        noisy: False makes an ordinary decoder of the same network, to compare with: the noise is 0 and t is 1, in
            training and after, so that one pass gives the picture.

    Source: logistic normal times: Esser et al. 2024, Scaling Rectified Flow Transformers, arXiv 2403.03206, section
    3.1; pictures predicted, losses on velocities: Li and He 2025, Back to Basics: Let Denoising Generative Models
    Denoise, arXiv 2511.13720.
    """

    def __init__(
        self,
        *,
        num_steps: int,
        predicts: Predicts = "velocity",
        time_mean: float = 0.0,
        time_std: float = 1.0,
        noisy: bool = True,
    ) -> None:
        super().__init__()
        self.num_steps = num_steps if noisy else 1
        self.predicts = predicts
        self.time_mean = time_mean
        self.time_std = time_std
        self.noisy = noisy

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """x_t (B, 3, *S), t (B,) float32 -> velocity or picture of the shape of x_t."""
        raise NotImplementedError

    def condition(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """What the network reads of z (B, C, *S') for pictures of ``size``; the latent itself unless a family says."""
        return z

    def seen(self, condition: Tensor, x_0: Tensor) -> Tensor:
        """x_hat of training: the estimate x_0 (B, 3, *S) of the picture from one step, unless a family says."""
        return x_0

    def drift(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The velocity that sampling follows: the network's own, unless a family guides it."""
        return self.velocity(x_t, t, condition)

    def velocity(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """One pass of the network, as a velocity of the shape and type of x_t."""
        out: Tensor = self(x_t, t, condition).to(x_t.dtype)
        if self.predicts == "velocity":
            return out
        return (x_t - out) / lift(t, x_t).clamp_min(EARLIEST)

    def learn(self, z: Tensor, x: Tensor, keys: Tensor) -> Drawn:
        """One training pass at a random time a sample.

        Args:
            z: (B, C, *S') latents, raw scale.
            x: (B, 3, *S) the pictures they stand for.
            keys: (B,) int64, what each sample's time and noise are drawn from.

        Returns:
            ``velocity`` and ``velocity_target`` (B, 3, *S) float32 among the extras.
        """
        x = x.float()
        if self.noisy:
            eps = seeding.normal(x.shape[1:], keys, "decoder noise").to(x.device)
            normals = seeding.normal((1,), keys, "decoder time").squeeze(1).to(x.device)
            t = torch.sigmoid(self.time_mean + self.time_std * normals)
        else:
            eps, t = torch.zeros_like(x), x.new_ones(len(x))
        condition = self.condition(z, tuple(x.shape[2:]))
        x_t = interpolate(x, eps, t)
        v = self.velocity(x_t, t, condition)
        x_0 = x_t - lift(t, x_t) * v
        extras = {"velocity": v, "velocity_target": velocity_target(x, eps)}
        return Drawn(self.seen(condition, x_0), extras)

    def sample(self, z: Tensor, noise: Tensor, num_steps: int | None = None) -> Tensor:
        """z (B, C, *S') and noise (B or 1, 3, *S) -> x_hat (B, 3, *S), in the dtype of z.

        Raises:
            ValueError: if num_steps is below 1.
        """
        condition = self.condition(z, tuple(noise.shape[2:]))
        start = noise if self.noisy else torch.zeros_like(noise)
        start = start.expand(len(z), *start.shape[1:])
        times = time_grid(self.num_steps if num_steps is None else num_steps)
        return sample("euler", partial(self._follow, condition), start, times).to(z.dtype)

    def beside(
        self, z: Tensor, noise: Tensor, factor: int, num_steps: int | None = None
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """z (B, C, H', W') and noise (1, 3, H, W) as one tensor that tiling can cut, and what draws a piece of it."""

        def draw(piece: Tensor) -> Tensor:
            own, field_ = without_noise(piece, z.shape[1], factor)
            return self.sample(own.to(z.dtype), field_, num_steps)

        return with_noise(z, noise, factor), draw

    def _follow(self, condition: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return self.drift(x_t, t, condition)


def noise_field(size: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Standard normal noise (1, 3, *size) float32, one field for all pictures of a call.

    So a picture does not depend on those beside it, and tiles meet in the same noise. Without a generator it is
    always the same field.
    """
    if generator is None:
        generator = torch.Generator().manual_seed(NOISE_SEED)
    return torch.randn(1, 3, *size, generator=generator, device=generator.device)


def with_noise(z: Tensor, noise: Tensor, factor: int) -> Tensor:
    """z (B, C, H', W') and noise (1, 3, H, W) as one tensor of latent positions, which tiling can cut."""
    folded = F.pixel_unshuffle(noise, factor).expand(len(z), -1, -1, -1)
    return torch.cat([z.float(), folded.to(z.device, torch.float32)], dim=1)


def without_noise(both: Tensor, channels: int, factor: int) -> tuple[Tensor, Tensor]:
    """The inverse of ``with_noise`` for a piece: z (B, channels, h, w) and its noise (B, 3, h factor, w factor)."""
    return both[:, :channels], F.pixel_shuffle(both[:, channels:], factor)
