"""The adversary: a discriminator with its own optimizer, and what it asks of the autoencoder.

It never leaves gradients where they do not belong: while the autoencoder learns, the discriminator's parameters are
frozen; while the discriminator learns, reconstructions are detached.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core import optim
from tokenizer.core.config import Config
from tokenizer.core.descent import Descent
from tokenizer.core.optim import OptimConfig
from tokenizer.losses.discriminators import PatchDiscriminator

MAX_ADAPTIVE = 1e4


class AdversaryConfig(Config):
    """A patch discriminator with the hinge loss (arXiv 1611.07004, 1705.02894)."""

    weight: float = Field(default=0.5, ge=0)
    adaptive: bool = Field(
        default=True, description="scale by the ratio of gradients at the last layer (VQGAN)"
    )
    start_images: int = Field(default=0, ge=0, description="images of the phase before it begins")
    width: int = Field(default=64, ge=8)
    num_layers: int = Field(default=3, ge=1, le=6)
    optim: OptimConfig = OptimConfig(lr=1e-4, betas=(0.5, 0.9))


@dataclass(frozen=True, slots=True)
class AdversaryTerm:
    """What the adversary adds to the autoencoder's loss.

    Attributes:
        loss: weighted scalar with gradient.
        stats: detached scalars for the log.
    """

    loss: Tensor
    stats: dict[str, Tensor]


class Adversary:
    """Owns the discriminator and its optimizer.

    Args:
        config: its settings.
        accelerator: of the run.
        last_layer: the autoencoder's last weight, where gradients are compared.
        total: images in the phase.
        batch: images in a step.
    """

    def __init__(
        self,
        config: AdversaryConfig,
        accelerator: Accelerator,
        last_layer: nn.Parameter,
        total: int,
        batch: int,
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.last_layer = last_layer
        self.discriminator = PatchDiscriminator(config.width, config.num_layers).to(accelerator.device)
        self.optimizer = config.optim.build(self.discriminator)
        self.wrapped = accelerator.prepare(self.discriminator)
        self.descent = Descent(accelerator, self.wrapped, self.optimizer, config.optim, total, batch)

    def starts_at(self, images: int) -> bool:
        """Whether it takes part in a step that begins after ``images`` of the phase."""
        return images >= self.config.start_images

    def term(self, x_hat: Tensor, reconstruction: Tensor) -> AdversaryTerm:
        """What to add to ``reconstruction``, the scalar of the other losses, for x_hat (B, 3, H, W)."""
        self.discriminator.requires_grad_(False)
        fooling = -self.discriminator(x_hat).float().mean()
        self.discriminator.requires_grad_(True)
        weight = torch.as_tensor(self.config.weight, device=x_hat.device)
        if self.config.adaptive:
            weight = weight * self._ratio(reconstruction, fooling)
        return AdversaryTerm(weight * fooling, {"fooling": fooling.detach(), "adversary_weight": weight})

    def _ratio(self, reconstruction: Tensor, fooling: Tensor) -> Tensor:
        """|d reconstruction| / |d fooling| at the last layer, of the gradients averaged over processes.

        Source: Esser et al. 2021, Taming Transformers, arXiv 2012.09841, equation 7.
        """
        norms = []
        for loss in (reconstruction, fooling):
            (gradient,) = torch.autograd.grad(loss, self.last_layer, retain_graph=True)
            norms.append(self.accelerator.reduce(gradient.float(), "mean").norm())
        ratio = norms[0] / (norms[1] + 1e-4)
        return torch.nan_to_num(ratio, nan=0.0, posinf=MAX_ADAPTIVE).clamp(0.0, MAX_ADAPTIVE).detach()

    def learn(self, x: Tensor, x_hat: Tensor, *, micro_batches: int, last: bool) -> dict[str, Tensor]:
        """Accumulate the hinge loss of telling x from x_hat (both (B, 3, H, W)); detached scalars for the log.

        Source: Lim and Ye 2017, Geometric GAN, arXiv 1705.02894 (hinge).
        """
        with self.descent.accumulating(last):
            both = self.wrapped(torch.cat([x, x_hat.detach()])).float()
            real, fake = both.chunk(2)
            loss = 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())
            self.descent.backward(loss / micro_batches)
        return {"discriminator": loss.detach(), "real": real.detach().mean(), "fake": fake.detach().mean()}

    def step(self, images: int) -> None:
        """Move the discriminator by what ``learn`` accumulated, after ``images`` of the phase."""
        self.descent.step(images)

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
        """Tensors by file and texts by file, everything that an exact resume needs."""
        tensors, text = optim.pack(self.optimizer)
        return (
            {
                "trainer/discriminator": self.discriminator.state_dict(),
                "trainer/discriminator_optimizer": tensors,
            },
            {"trainer/discriminator_optimizer.json": text},
        )

    def restore(self, tensors: Mapping[str, dict[str, Tensor]], texts: Mapping[str, str]) -> None:
        """Take back what ``state`` gave."""
        self.discriminator.load_state_dict(tensors["trainer/discriminator"])
        optim.unpack(
            self.optimizer,
            tensors["trainer/discriminator_optimizer"],
            texts["trainer/discriminator_optimizer.json"],
        )
