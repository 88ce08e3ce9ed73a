"""What ``eval.training_speed`` times: our training step, and one that does what diffusers' own training script does.

Both start from the same random weights, see the same pictures and descend the same losses with the same optimizer;
reading pictures and writing logs and checkpoints are left out of both. Each side lives in its own process, because
Accelerate knows one precision a process.

Letters: B batch, R resolution.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer import train
from tokenizer.adapters.diffusers import to_diffusers
from tokenizer.config import TokenizerConfig
from tokenizer.core.checkpoint import RunFolder
from tokenizer.core.config import find_preset
from tokenizer.core.ema import EMA
from tokenizer.core.run import build_accelerator
from tokenizer.core.tracking import Tracker
from tokenizer.data.transforms import to_pixels
from tokenizer.losses.perceptual import build_lpips
from tokenizer.model import Autoencoder
from tokenizer.training import TrainConfig

TOKENIZER_PRESETS = Path(__file__).resolve().parents[1] / "tokenizer" / "configs"
TRUNK = "vgg16.pth"  # random weights: the time is the same
MANY = 10**9  # images of a phase that never ends
Side = Literal["ours", "diffusers"]
Precision = Literal["fp32", "bf16"]

# The script's defaults: --learning_rate, --adam_*, --max_grad_norm; --perceptual_scale, --kl_scale, --disc_scale.
LR, BETAS, WEIGHT_DECAY, EPS, MAX_NORM = 4.5e-6, (0.9, 0.999), 1e-2, 1e-8, 1.0
PERCEPTUAL, KL, ADVERSARY = 0.5, 1e-6, 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What a trainer is built from.

    Attributes:
        model: the ``model`` of a preset, as plain data; a KL autoencoder.
        resolution: R.
        batch: B.
        precision: bf16 is autocast for ours, and the script's ``--mixed_precision bf16`` for theirs.
        compile: torch.compile encoder and decoder; ours only, the script has no such option.
        channels_last: memory format of the kernels; ours only, likewise.
        lpips: false leaves the perceptual loss out of both.
        seed: of weights and pictures.
        folder: for files of the run; holds ``TRUNK``.
    """

    model: dict[str, Any]  # YAML, validated where it is used
    resolution: int
    batch: int
    precision: Precision
    compile: bool
    channels_last: bool
    lpips: bool
    seed: int
    folder: Path


class Trainer(Protocol):
    """One side."""

    def update(self, *, adversary: bool) -> dict[str, float]:
        """Move the autoencoder once, and the discriminator too if ``adversary``; returns losses.

        ``pictures`` among them is how many were read for it.
        """
        ...


def build(side: Side, setting: Setting) -> Trainer:
    """A side's trainer."""
    return OurTrainer(setting) if side == "ours" else DiffusersTrainer(setting)


def model_of(preset: str) -> dict[str, Any]:  # YAML
    """The model of a training preset.

    Raises:
        ValueError: if there is no such preset, or the script could not train its model.
    """
    tree = yaml.safe_load(find_preset(preset, TOKENIZER_PRESETS).read_text())
    model: dict[str, Any] = tree.get("model") or {}
    kinds = [(model.get(part) or {}).get("kind") for part in ("backbone", "bottleneck")]
    if kinds != ["kl", "kl"]:
        raise ValueError(
            f"{preset}: diffusers' script trains KL autoencoders, this is {kinds[0]} with {kinds[1]}"
        )
    TokenizerConfig.parse(model)
    return model


def write_trunk(folder: Path, seed: int) -> None:
    """VGG-16's convolutions with random weights, under the names that torchvision gives them."""
    from torchvision.models import vgg16

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        names = vgg16(weights=None).features.state_dict()
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in names.items():
        spread = (2.0 / value[0].numel()) ** 0.5 if value.ndim == 4 else 0.0
        state[f"features.{name}"] = spread * torch.randn(value.shape, generator=generator)
    torch.save(state, folder / TRUNK)


def start(setting: Setting) -> Autoencoder:
    """The weights that both sides begin with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setting.seed)
        return TokenizerConfig.parse(setting.model).build()


def pictures(setting: Setting) -> Tensor:
    """(B, R, R, 3) uint8 noise, the same for both sides."""
    generator = torch.Generator().manual_seed(setting.seed)
    shape = (setting.batch, setting.resolution, setting.resolution, 3)
    return torch.randint(0, 256, shape, generator=generator).to(torch.uint8)


class OurTrainer:
    """``tokenizer.train``'s own step: both players in one batch, gradients through LPIPS, and the moving average."""

    def __init__(self, setting: Setting) -> None:
        backbone = TokenizerConfig.parse(setting.model).backbone
        share = backbone.latent_channels / (
            3 * backbone.spatial_factor**2
        )  # the script sums where we average
        losses: list[dict[str, Any]] = [{"kind": "l2"}, {"kind": "bottleneck", "weight": KL * share}]
        if setting.lpips:
            trunk = str(setting.folder / TRUNK)
            lpips = {"kind": "lpips", "net": "vgg", "backbone": trunk, "precision": setting.precision}
            losses.append(lpips | {"weight": PERCEPTUAL})
        optim = {"lr": LR, "betas": BETAS, "weight_decay": WEIGHT_DECAY, "max_norm": MAX_NORM}
        adversary = {"weight": ADVERSARY, "adaptive": True, "start_images": setting.batch, "optim": optim}
        phase = {"resolution": setting.resolution, "images": MANY, "batch": setting.batch, "losses": losses}
        config = TrainConfig.parse(
            {
                "out": setting.folder,
                "data": {"path": setting.folder},
                "model": setting.model,
                "phases": [phase | {"adversary": adversary}],
                "optim": optim,
                "precision": setting.precision,
                "compile": setting.compile,
                "channels_last": setting.channels_last,
                "seed": setting.seed,
            }
        )
        accelerator = build_accelerator(setting.seed, deterministic=False)
        model = train.to_device(start(setting), config, accelerator)
        parts = TokenizerConfig.parse(setting.model)
        self.run = train.Run(
            config,
            parts,
            accelerator,
            model,
            EMA(model, config.ema_half_life),
            RunFolder(setting.folder),
            Tracker(setting.folder, main=False),
        )
        self.parts = train.build_phase(self.run, config.phases[0])
        self.batch = setting.batch
        keys = torch.arange(setting.batch)
        self.sample: Any = {"data": pictures(setting), "label": keys, "index": keys, "key": keys}

    def update(self, *, adversary: bool) -> dict[str, float]:
        """One call of ``train_step``, before or after the adversary's start."""
        log = train.train_step(self.run, self.parts, [self.sample], self.batch if adversary else 0)
        self.run.images += self.batch
        return {name: float(value) for name, value in log.items()} | {"pictures": float(self.batch)}


class BatchNormDiscriminator(nn.Sequential):
    """The patch discriminator that the script imports: as ours at its defaults, but with batch norms.

    Source: Isola et al. 2017, arXiv 1611.07004, appendix 6.1.2; weights as in its section 6.2.
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for before, width, stride in ((64, 128, 2), (128, 256, 2), (256, 512, 1)):
            convolution = nn.Conv2d(before, width, 4, stride=stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(512, 1, 4, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)


class DiffusersTrainer:
    """What one iteration of diffusers' ``train_autoencoderkl.py`` computes, with the objects that it uses.

    Its peculiarities belong to its speed and are kept: weights and optimizer in bfloat16 rather than autocast; LPIPS
    without a gradient; the discriminator, and both gradients at the last layer, in every turn of the autoencoder even
    before the adversary starts; then alternate turns, each of which encodes and decodes its own batch; and a turn of
    the discriminator that computes its loss and stops there (the script calls neither backward nor the optimizer).
    EMA, xformers, 8-bit Adam and gradient checkpointing are off, as by default.

    Source: huggingface/diffusers, examples/research_projects/autoencoderkl/train_autoencoderkl.py, ``main``, as of
    commit 2e348b84731f02e6dc89461cc1ae2b7bf8b5fa53.
    """

    def __init__(self, setting: Setting) -> None:
        from accelerate import Accelerator
        from diffusers.optimization import get_scheduler

        accelerator = Accelerator(mixed_precision="bf16" if setting.precision == "bf16" else "no")
        ours = start(setting)
        ours.spec = ours.spec.with_statistics(
            {"z": ([0.0] * ours.spec.z.channels, [1.0] * ours.spec.z.channels)}
        )
        vae = to_diffusers(ours).requires_grad_(True).train()
        torch.manual_seed(setting.seed)
        discriminator = BatchNormDiscriminator().train()
        dtype = torch.bfloat16 if setting.precision == "bf16" else torch.float32
        device = accelerator.device
        self.perceptual: Any = None  # lpips publishes no types
        if setting.lpips:
            self.perceptual = build_lpips("vgg", setting.folder / TRUNK, None).to(device, dtype=dtype)
        optimizers = [
            torch.optim.AdamW(part.parameters(), lr=LR, betas=BETAS, weight_decay=WEIGHT_DECAY, eps=EPS)
            for part in (vae, discriminator)
        ]
        schedulers = [get_scheduler("constant", optimizer=optimizer) for optimizer in optimizers]
        prepared: Any = accelerator.prepare(vae, discriminator, *optimizers, *schedulers)
        self.vae, self.discriminator, self.optimizer, _, self.scheduler, _ = prepared
        nn.Module.to(self.vae, device, dtype=dtype)
        self.discriminator.to(device, dtype=dtype)
        self.accelerator = accelerator
        self.dtype = dtype
        self.batch = setting.batch
        self.pixels = to_pixels(pictures(setting)).contiguous().to(device)

    def update(self, *, adversary: bool) -> dict[str, float]:
        """A turn of the autoencoder, and one of the discriminator if ``adversary``."""
        log = self.autoencoder_turn(1.0 if adversary else 0.0) | {"pictures": float(self.batch)}
        if adversary:
            log |= self.discriminator_turn() | {"pictures": 2.0 * self.batch}
        return log

    def reconstruct(self) -> tuple[Any, Tensor, Tensor]:
        """The posterior, the pictures and their reconstruction, all with gradient."""
        targets = self.pixels.to(dtype=self.dtype)
        vae = self.accelerator.unwrap_model(self.vae)
        posterior = vae.encode(targets).latent_dist
        return posterior, targets, vae.decode(posterior.sample()).sample

    def autoencoder_turn(self, factor: float) -> dict[str, float]:
        """Forward, losses, both gradients at the last layer, backward, clip, step; ``factor`` 0 before the start."""
        posterior, targets, x_hat = self.reconstruct()
        with self.accelerator.accumulate(self.vae):
            errors = F.mse_loss(x_hat.float(), targets.float(), reduction="none")
            log = {"reconstruction": errors.detach().mean().item()}
            if self.perceptual is not None:
                with torch.no_grad():
                    distance = self.perceptual(x_hat, targets)
                errors = errors + PERCEPTUAL * distance
                log["lpips"] = distance.mean().item()
            likelihood = errors.sum() / len(errors)
            divergence = posterior.kl()
            divergence = divergence.sum() / len(divergence)
            fooling = -self.discriminator(x_hat).mean()
            last = self.accelerator.unwrap_model(self.vae).decoder.conv_out.weight
            norms = [
                torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (likelihood, fooling)
            ]
            weight = (norms[0] / (norms[1] + 1e-4)).clamp(0.0, 1e4).detach() * ADVERSARY
            loss = likelihood + KL * divergence + weight * factor * fooling
            log |= {"total": loss.item(), "kl": divergence.item(), "fooling": fooling.item()}
            log["adversary_weight"] = weight.item()
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.vae.parameters(), MAX_NORM)
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad(set_to_none=False)
        return log

    def discriminator_turn(self) -> dict[str, float]:
        """Forward of both networks and the hinge loss; nothing moves."""
        _, targets, x_hat = self.reconstruct()
        with self.accelerator.accumulate(self.discriminator):
            real, fake = self.discriminator(targets), self.discriminator(x_hat)
            loss = 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())
            return {"discriminator": loss.item(), "real": real.mean().item(), "fake": fake.mean().item()}
