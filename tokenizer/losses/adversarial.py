"""The adversary: a discriminator with its own optimizer, and what it asks of the autoencoder.

It never leaves gradients where they do not belong: while the autoencoder learns, the discriminator's parameters are
frozen; while the discriminator learns, reconstructions are detached. Both see the same augmentation of a sample.

Letters: B batch, S a size: (H, W) or (T, H, W).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from accelerate import Accelerator
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core import optim
from tokenizer.core.config import Config
from tokenizer.core.descent import Descent
from tokenizer.core.optim import OptimConfig
from tokenizer.core.run import crossed
from tokenizer.losses.augment import DiffAugment, Policy
from tokenizer.losses.discriminators import ClipDiscriminator, PatchDiscriminator

MAX_ADAPTIVE = 1e4

Game = Literal["hinge", "non_saturating"]


class AdversaryConfig(Config):
    """A patch discriminator (arXiv 1611.07004) with the hinge (1705.02894) or non-saturating (1406.2661) loss."""

    weight: float = Field(default=0.5, ge=0)
    adaptive: bool = Field(
        default=True, description="scale by the ratio of gradients at the last layer (VQGAN)"
    )
    start_images: int = Field(default=0, ge=0, description="images of the phase before it begins")
    loss: Game = "hinge"
    width: int = Field(default=64, ge=8)
    num_layers: int = Field(default=3, ge=1, le=6)
    sees: Literal["frames", "clips"] = Field(
        default="frames", description="clips: convolutions over time too; pictures are frames"
    )
    lecam: float = Field(default=0.0, ge=0, description="weight of LeCAM (arXiv 2104.03310)")
    lecam_half_life: float = Field(default=10_000, gt=0, description="of its moving averages, in images")
    r1: float = Field(
        default=0.0, ge=0, description="gamma of the gradient penalty on pictures (arXiv 1801.04406)"
    )
    r1_every: int = Field(
        default=0,
        ge=0,
        description="images between two gradient penalties, each weighed for those left out; 0: every step",
    )
    augment: tuple[Policy, ...] = Field(default=(), description="DiffAugment (arXiv 2006.10738)")
    augment_strength: float = Field(default=1.0, ge=0, le=1)
    optim: OptimConfig = OptimConfig(lr=1e-4, betas=(0.5, 0.9))


class Losses(NamedTuple):
    """What the two players descend, scalars of logits.

    Attributes:
        fool: the autoencoder's, of reconstructions.
        tell: the discriminator's, of pictures and reconstructions.
    """

    fool: Callable[[Tensor], Tensor]
    tell: Callable[[Tensor, Tensor], Tensor]


GAMES: dict[Game, Losses] = {
    # Lim and Ye 2017, Geometric GAN, arXiv 1705.02894
    "hinge": Losses(
        fool=lambda fake: -fake.mean(),
        tell=lambda real, fake: 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean()),
    ),
    # Goodfellow et al. 2014, Generative Adversarial Networks, arXiv 1406.2661
    "non_saturating": Losses(
        fool=lambda fake: F.softplus(-fake).mean(),
        tell=lambda real, fake: 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean()),
    ),
}


class LeCAM(nn.Module):
    """Keeps the judgement of pictures near the running mean judgement of reconstructions, and the other way round.

    Args:
        half_life: images after which an old judgement counts half.

    Source: Tseng et al. 2021, Regularizing Generative Adversarial Networks under Limited Data, arXiv 2104.03310 (the
    regularizer of the discriminator; its released code clips the differences at 0, the paper does not).
    """

    def __init__(self, half_life: float) -> None:
        super().__init__()
        self.half_life = half_life
        self.sums: Tensor
        self.weight: Tensor
        self.register_buffer("sums", torch.zeros(2))  # of pictures, of reconstructions
        self.register_buffer("weight", torch.zeros(()))  # how much of the average has come in: 0 to 1
        self._seen: list[Tensor] = []

    def anchors(self) -> Tensor:
        """Mean judgements (2,) of pictures and of reconstructions, without bias from the beginning."""
        return self.sums / self.weight.clamp_min(torch.finfo(torch.float32).tiny)

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Logits of pictures and reconstructions -> scalar, 0 until there is an average; remembers them for it."""
        self._seen.append(torch.stack([real.detach().mean(), fake.detach().mean()]))
        of_real, of_fake = self.anchors().unbind()
        penalty: Tensor = (real - of_fake).square().mean() + (fake - of_real).square().mean()
        return torch.where(self.weight > 0, penalty, 0.0 * penalty)

    def update(self, accelerator: Accelerator, batch: int, *, applied: bool) -> None:
        """Move the averages by what a step of ``batch`` images judged, over all processes, unless it was skipped."""
        seen = accelerator.reduce(torch.stack(self._seen).mean(dim=0), "mean")
        self._seen.clear()
        if applied:
            keep = 0.5 ** (batch / self.half_life)
            self.sums.lerp_(seen, 1.0 - keep)
            self.weight.lerp_(torch.ones_like(self.weight), 1.0 - keep)


@dataclass(frozen=True, slots=True)
class AdversaryTerm:
    """What the adversary adds to the autoencoder's loss.

    Attributes:
        value: weighted scalar, detached.
        gradient: of that scalar with respect to x_hat, (B, 3, *S).
        stats: detached scalars for the log.
    """

    value: Tensor
    gradient: Tensor
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
        self.batch = batch
        self.losses = GAMES[config.loss]
        self.augment = DiffAugment(config.augment, config.augment_strength)
        self.lecam = LeCAM(config.lecam_half_life).to(accelerator.device)
        network = ClipDiscriminator if config.sees == "clips" else PatchDiscriminator
        self.discriminator = network(config.width, config.num_layers).to(accelerator.device)
        self.optimizer = config.optim.build(self.discriminator)
        self.wrapped = accelerator.prepare(self.discriminator)
        self.descent = Descent(accelerator, self.wrapped, self.optimizer, config.optim, total, batch)

    def starts_at(self, images: int) -> bool:
        """Whether it takes part in a step that begins after ``images`` of the phase."""
        return images >= self.config.start_images

    def term(self, x_hat: Tensor, gradient: Tensor, keys: Tensor) -> AdversaryTerm:
        """What it asks of x_hat (B, 3, *S), with the model's graph, of samples with keys (B,).

        ``gradient`` is that of the other losses with respect to x_hat. Only the decoder's last kernel is
        differentiated here, and the discriminator; no gradient stays in either.
        """
        leaf = x_hat.detach().requires_grad_()
        self.discriminator.requires_grad_(False)
        fooling = self.losses.fool(self.discriminator(self.augment(leaf, self.augment.draw(keys))).float())
        self.discriminator.requires_grad_(True)
        (own,) = torch.autograd.grad(fooling, leaf)
        weight = torch.as_tensor(self.config.weight, device=x_hat.device)
        if self.config.adaptive:
            weight = weight * self._ratio(x_hat, gradient, own)
        fooling = fooling.detach()
        stats = {"fooling": fooling, "adversary_weight": weight}
        return AdversaryTerm(weight * fooling, weight.to(own.dtype) * own, stats)

    def _ratio(self, x_hat: Tensor, of_others: Tensor, of_fooling: Tensor) -> Tensor:
        """|d others| / |d fooling| at the last layer, of the gradients averaged over processes.

        Source: Esser et al. 2021, Taming Transformers, arXiv 2012.09841, equation 7.
        """
        norms = []
        for outer in (of_others, of_fooling):
            (gradient,) = torch.autograd.grad(x_hat, self.last_layer, outer, retain_graph=True)
            norms.append(self.accelerator.reduce(gradient.float(), "mean").norm())
        ratio = norms[0] / (norms[1] + 1e-4)
        return torch.nan_to_num(ratio, nan=0.0, posinf=MAX_ADAPTIVE).clamp(0.0, MAX_ADAPTIVE).detach()

    def learn(
        self, x: Tensor, x_hat: Tensor, keys: Tensor, *, images: int, micro_batches: int, last: bool
    ) -> dict[str, Tensor]:
        """Accumulate the loss of telling x from x_hat (both (B, 3, *S)), samples with keys (B,).

        Args:
            x: pictures.
            x_hat: their reconstructions.
            keys: of the samples, for their augmentation.
            images: images of the phase before this step.
            micro_batches: in this step.
            last: whether this is the last of them.

        Returns:
            Detached scalars for the log.
        """
        r1_weight = self.r1_weight(images)
        x = x.detach().requires_grad_(r1_weight > 0)
        draws = self.augment.draw(keys)
        with self.descent.accumulating(last):
            seen = torch.cat([self.augment(x, draws), self.augment(x_hat.detach(), draws)])
            real, fake = self.wrapped(seen).float().chunk(2)
            loss = self.losses.tell(real, fake)
            stats = {
                "discriminator": loss.detach(),
                "real": real.detach().mean(),
                "fake": fake.detach().mean(),
            }
            if self.config.lecam > 0:
                lecam = self.lecam(real, fake)
                loss = loss + self.config.lecam * lecam
                stats["lecam"] = lecam.detach()
            if r1_weight > 0:
                penalty = gradient_penalty(real, x)
                loss = loss + r1_weight * penalty
                stats["r1"] = penalty.detach()
            self.descent.backward(loss / micro_batches)
        return stats

    def r1_weight(self, images: int) -> float:
        """What the gradient penalty counts in a step that begins after ``images`` of the phase; 0: left out.

        Source: Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, arXiv 1912.04958
        (lazy regularization: rarely, and stronger by as much).
        """
        every = max(self.config.r1_every, self.batch)
        due = crossed(images, images + self.batch, every)
        return 0.5 * self.config.r1 * every / self.batch if due else 0.0

    def step(self, images: int) -> None:
        """Move the discriminator by what ``learn`` accumulated, after ``images`` of the phase."""
        applied = self.descent.step(images) is not None
        if self.config.lecam > 0:
            self.lecam.update(self.accelerator, self.batch, applied=applied)

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
        """Tensors by file and texts by file, everything that an exact resume needs."""
        tensors, text = optim.pack(self.optimizer)
        return (
            {
                "trainer/discriminator": self.discriminator.state_dict(),
                "trainer/discriminator_optimizer": tensors,
                "trainer/lecam": self.lecam.state_dict(),
            },
            {"trainer/discriminator_optimizer.json": text},
        )

    def restore(self, tensors: Mapping[str, dict[str, Tensor]], texts: Mapping[str, str]) -> None:
        """Take back what ``state`` gave."""
        self.discriminator.load_state_dict(tensors["trainer/discriminator"])
        self.lecam.load_state_dict(tensors["trainer/lecam"])
        optim.unpack(
            self.optimizer,
            tensors["trainer/discriminator_optimizer"],
            texts["trainer/discriminator_optimizer.json"],
        )


def gradient_penalty(real: Tensor, x: Tensor) -> Tensor:
    """|d judgement / d x|^2 of each picture, averaged: a scalar with gradient for the discriminator.

    Args:
        real: logits (B, ...) of x; their mean is the judgement of a picture, whatever its size.
        x: pictures (B, 3, *S) that require gradients.

    Source: Mescheder et al. 2018, Which Training Methods for GANs do actually Converge?, arXiv 1801.04406 (R1,
    the penalty on real data); it is weighed by gamma / 2.
    """
    (gradient,) = torch.autograd.grad(real.flatten(1).mean(dim=1).sum(), x, create_graph=True)
    return gradient.float().square().flatten(1).sum(dim=1).mean()


def last_kernel(decoder: nn.Module) -> tuple[nn.Module, nn.Parameter]:
    """The decoder's last kernel that trains, where gradients are compared, and the module that owns it.

    Raises:
        ValueError: if no kernel trains.
    """
    kernels = [
        (module, parameter)
        for module in decoder.modules()
        for parameter in module.parameters(recurse=False)
        if parameter.ndim >= 2 and parameter.requires_grad
    ]
    if not kernels:
        raise ValueError("an adversary needs a phase in which a kernel of the decoder trains")
    return kernels[-1]
