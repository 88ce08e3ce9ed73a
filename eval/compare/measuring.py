"""All numbers of one trained member on the held-out pictures.

Letters: B pictures, N pictures in all, R resolution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from eval.compare.pictures import HeldOut
from eval.compare.record import Values
from eval.compare.settings import CompareConfig
from eval.compare.training import Trained
from eval.errors import NotComputedError
from eval.measures import flops
from eval.measures.class_probe import class_probe
from eval.measures.codebook import CodebookCounts
from eval.measures.depth import LatentCode, choose
from eval.measures.equivariance import TRANSFORMS, EquivarianceError
from eval.measures.latents import LatentMoments
from eval.measures.patch_frechet import PatchFrechet
from eval.measures.prefix import PrefixPSNR
from eval.measures.robustness import CycleError, NoisePSNR
from eval.measures.sharpness import Sharpness
from eval.pixels import to_uint8
from eval.report import Computed, Panel
from eval.round_trip import Speed, Times, round_trip
from tokenizer.loading import load
from tokenizer.model import Autoencoder, Tokenizer
from tokenizer.spec import Latent, PartSpec

PREFIXES = {"prefix_half": 0.5, "prefix_quarter": 0.25}
NOISE = 0.5


@dataclass(frozen=True, slots=True)
class Measured:
    """A member's numbers and what the page shows of it.

    Attributes:
        bits: of one picture.
        shown: (S, 3, R, R) uint8, its reconstructions of ``HeldOut.shown``.
    """

    spec_id: str
    spec: dict[str, Any]  # LatentSpec as it is saved
    bits: float
    numbers: Values
    shown: Tensor


class Changed(Protocol):
    """A measure that decodes changed latents."""

    def update(self, tokenizer: Tokenizer, real: Tensor, latent: Latent) -> None:
        """Add uint8 pictures (B, 3, R, R) and their latent; NotComputedError if the family has no such thing."""
        ...

    def compute(self) -> Sequence[float]:
        """Its numbers."""
        ...


class Gatherer:
    """Numbers as they come, and reasons where they do not."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.intervals: dict[str, tuple[float, float]] = {}
        self.missing: dict[str, str] = {}

    def panel(self, panel: Panel) -> None:
        """The metrics of the protocol."""
        for name, entry in panel.compute()[0].items():
            if isinstance(entry, Computed):
                self.values[name] = entry.value
                self.intervals[name] = entry.ci95
            else:
                self.missing[name] = f"needs {entry.not_computed}; put it {entry.put}"

    def record(self) -> Values:
        """All of it."""
        return Values(values=self.values, intervals=self.intervals, missing=self.missing)


@dataclass(slots=True)
class Pass:
    """What one pass over the held-out pictures gathers."""

    panel: Panel
    moments: LatentMoments
    codes: CodebookCounts | None
    code: LatentCode | None = None
    sharpness: Sharpness = field(default_factory=Sharpness)
    patches: PatchFrechet = field(default_factory=PatchFrechet)
    times: list[Times] = field(default_factory=list)
    latents: list[Latent] = field(default_factory=list)
    fakes: list[Tensor] = field(default_factory=list)

    def walk(self, tokenizer: Autoencoder, held_out: HeldOut, batch_size: int, device: torch.device) -> None:
        """Encode every picture, and compare it with what is decoded from what is sent of its latent."""
        part = tokenizer.spec.z
        batches = torch.split(held_out.real, batch_size)
        trips = [round_trip(tokenizer, real, device=device) for real in batches]
        self.latents = [trip.latent for trip in trips]
        self.times = [trip.times for trip in trips]
        if part.codebook_size is None:
            self.code = choose(tokenizer, batches, self.latents)
        for real, trip in zip(batches, trips, strict=True):
            x_hat, fake = trip.x_hat, trip.fake
            if self.code is not None:
                with torch.inference_mode():
                    x_hat = tokenizer.decode(self.code.rounded(trip.latent))
                fake = to_uint8(x_hat).cpu()
            self.panel.update(real, x_hat)
            self.sharpness.update(real, fake)
            self.patches.update_real(real)
            self.patches.update_fake(fake)
            self.moments.add(tokenizer.spec.denormalize(trip.latent.z.float()))
            if self.codes is not None:
                self.codes.add(trip.latent.indices[part.name])
            self.fakes.append(fake)


def measure(trained: Trained, config: CompareConfig, held_out: HeldOut, device: torch.device) -> Measured:
    """Measure a trained tokenizer.

    Raises:
        ValueError: if it does not load, or gives NaN.
    """
    tokenizer = load(trained.folder, device=str(device))
    size = (config.resolution, config.resolution)
    part = tokenizer.spec.z
    done = Pass(
        panel=Panel(config.metrics, held_out.protocol, config.weights, device),
        moments=LatentMoments(part.channels),
        codes=CodebookCounts(part) if part.codebook_size is not None else None,
    )
    done.walk(tokenizer, held_out, config.batch_size, device)
    gathered = Gatherer()
    gathered.panel(done.panel)
    depth = 0 if done.code is None else done.code.depth
    bits = tokenizer.spec.bits(size, bits_per_value=depth)
    statistics = done.moments.compute()
    gathered.values |= {
        "bits_per_pixel": bits / math.prod(size),
        "bits_per_value": bits / math.prod(part.shape(size)),
        "tokens": num_tokens(part, size),
        "sharpness": done.sharpness.compute(),
        "frechet_patches": done.patches.compute().mean,
        "latent_mean": statistics.mean,
        "latent_rms": statistics.rms,
        "latent_kurtosis": statistics.kurtosis,
        "latent_prior_gap": statistics.prior_gap,
        "latent_dead": statistics.dead,
        "parameters": sum(parameter.numel() for parameter in tokenizer.parameters()),
        "gflops": flops.count(tokenizer, size, device).both / 1e9,
        "training_images_per_s": trained.images_per_s,
        "inference_images_per_s": Speed.of(done.times).both,
        "images": trained.images,
        "training_s": trained.seconds,
    }
    if done.codes is not None:
        gathered.values |= _codebook_values(done.codes)
    _transformed(gathered, tokenizer, config, held_out, done.latents, device)
    _classes(gathered, done.latents, held_out.labels)
    shown = torch.cat(done.fakes)[list(held_out.shown)]
    spec = tokenizer.spec.model_dump(mode="json")
    return Measured(tokenizer.spec_id, spec, bits, gathered.record(), shown)


def num_tokens(part: PartSpec, size: tuple[int, int]) -> int:
    """Positions of a latent's grid, whatever the number of codebooks; all indices where there are scales."""
    if part.codebook_size is not None and part.scales is not None:
        return math.prod(part.index_shape(size))
    return math.prod(part.shape(size)[1:])


def _codebook_values(codes: CodebookCounts) -> dict[str, float]:
    uses = codes.compute()
    return {
        "codebooks": codes.num_codebooks,
        "codebook_size": codes.size,
        "codebook_use": sum(use.share for use in uses) / len(uses),
        "codebook_perplexity": sum(use.perplexity for use in uses) / len(uses),
    }


def _classes(gathered: Gatherer, latents: list[Latent], labels: Tensor | None) -> None:
    """What the latents tell of the pictures' classes."""
    if labels is None:
        gathered.missing["class_probe"] = "the classes of the held-out pictures were not read"
        return
    z = torch.cat([latent.z.flatten(1).float().cpu() for latent in latents])
    try:
        gathered.values["class_probe"] = class_probe(z, labels)
    except NotComputedError as error:
        gathered.missing["class_probe"] = f"needs {error}"


def _transformed(
    gathered: Gatherer,
    tokenizer: Autoencoder,
    config: CompareConfig,
    held_out: HeldOut,
    latents: list[Latent],
    device: torch.device,
) -> None:
    """Numbers that decode changed latents."""
    batches = [real.to(device) for real in torch.split(held_out.real, config.batch_size)]
    measures: dict[tuple[str, ...], Changed] = {
        **{(f"equivariance_{name}", f"psnr_{name}"): EquivarianceError(name) for name in TRANSFORMS},
        **{(name,): PrefixPSNR(share) for name, share in PREFIXES.items()},
        ("psnr_noise",): NoisePSNR(NOISE),
        ("cycle_error",): CycleError(),
    }
    for names, measure_ in measures.items():
        try:
            for real, latent in zip(batches, latents, strict=True):
                measure_.update(tokenizer, real, latent)
        except NotComputedError as error:
            gathered.missing |= dict.fromkeys(names, str(error))
            continue
        gathered.values |= dict(zip(names, measure_.compute(), strict=True))
