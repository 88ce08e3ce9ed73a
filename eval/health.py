"""What becomes of latents and pictures that are changed: shifted, turned, shrunk, cut into tiles, encoded again.

It costs encodes beside those of an evaluation, so it is asked for, and on a bounded number of pictures.

Letters: B pictures of a batch, N pictures, R resolution.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from eval.errors import NotComputedError
from eval.measures.drift import RoundTripDrift
from eval.measures.equivariance import TRANSFORMS, EquivarianceError
from eval.measures.robustness import CycleError, NoisePSNR
from eval.measures.seams import SeamError, half_tiles
from eval.pixels import from_uint8
from tokenizer.core.config import Config
from tokenizer.model import Tokenizer
from tokenizer.spec import Latent, LatentSpec
from tokenizer.tiling import TilePlan


class ShiftRecord(Config):
    """How a latent follows one change of its picture."""

    error: float = Field(description="|E(tau x) - tau E(x)| over |E(tau x)|")
    psnr: float = Field(description="of D(tau E(x)) against tau x, dB")


class DriftRecord(Config):
    """One value a generation."""

    psnr: tuple[float, ...] = Field(description="against the original, dB")
    step: tuple[float, ...] = Field(description="against the generation before, dB")


class SeamRecord(Config):
    """Tiles against one piece."""

    tiles: str
    psnr_whole: float
    psnr_tiled: float
    psnr_between: float
    seam_ratio: float = Field(description="error in seams over that elsewhere, over the same of one piece")
    share: float = Field(description="of the picture that lies in seams")


class HealthRecord(Config):
    """What becomes of latents and pictures that are changed."""

    num_images: int
    equivariance: dict[str, ShiftRecord] = {}
    drift: DriftRecord | None = None
    seams: SeamRecord | None = None
    noise: float | None = Field(default=None, description="deviation of the noise that was added")
    psnr_noise: float | None = None
    cycle_error: float | None = Field(default=None, description="|E(D(z)) - z| over |z|")
    missing: dict[str, str] = {}


class AsMeasured:
    """A tokenizer as a job uses it: given its dtype, and the job's tiles unless others are named."""

    def __init__(self, tokenizer: Tokenizer, dtype: torch.dtype, tiles: TilePlan | None = None) -> None:
        self.tokenizer = tokenizer
        self.dtype = dtype
        self.tiles = tiles

    @property
    def spec(self) -> LatentSpec:
        """What its latents are."""
        return self.tokenizer.spec

    @property
    def spec_id(self) -> str:
        """Identity of its latent space."""
        return self.tokenizer.spec_id

    def encode(self, x: Tensor, *, tiles: TilePlan | None = None, **options: Any) -> Latent:
        """As ``Tokenizer.encode``; the options are its own."""
        return self.tokenizer.encode(x.to(self.dtype), tiles=tiles or self.tiles, **options)

    def decode(self, latent: Latent, *, tiles: TilePlan | None = None, **options: Any) -> Tensor:
        """As ``Tokenizer.decode``; the options are its own."""
        return self.tokenizer.decode(latent, tiles=tiles or self.tiles, **options)


def measure(
    network: Tokenizer,
    real: Tensor,
    *,
    device: torch.device,
    dtype: torch.dtype,
    tiles: TilePlan | None,
    batch_size: int,
    generations: int,
    noise_strength: float,
) -> HealthRecord:
    """Equivariance, drift, seams, noise and cycle of pictures, uint8 (N, 3, R, R).

    Seams are those of ``tiles``, or of two by two tiles where the job has none; everything else goes through the job's
    tiles. What a family does not have is entered as missing, with the reason.
    """
    tokenizer = AsMeasured(network, dtype, tiles)
    missing: dict[str, str] = {}
    batches = [batch.to(device) for batch in torch.split(real, batch_size)]
    with torch.inference_mode():
        latents = [tokenizer.encode(from_uint8(batch)) for batch in batches]

    def every(name: str, update: Callable[[Tensor, Latent], None]) -> bool:
        """Whether a measure could be taken of all batches."""
        try:
            for batch, latent in zip(batches, latents, strict=True):
                update(batch, latent)
        except (NotComputedError, ValueError) as error:
            missing[name] = str(error)
            return False
        return True

    found: dict[str, Any] = {"num_images": len(real), "equivariance": {}}  # plain data of HealthRecord
    for name in TRANSFORMS:
        error = EquivarianceError(name)
        if every(f"equivariance.{name}", partial(error.update, tokenizer)):
            found["equivariance"][name] = error.compute()._asdict()
    drift = RoundTripDrift(generations)
    if every("drift", lambda batch, _: drift.update(tokenizer, batch)):
        values = drift.compute()
        found["drift"] = {"psnr": values.psnr, "step": values.step}
    noise = NoisePSNR(noise_strength)
    if every("psnr_noise", partial(noise.update, tokenizer)):
        found |= {"noise": noise_strength, "psnr_noise": noise.compute()[0]}
    cycle = CycleError()
    if every("cycle_error", partial(cycle.update, tokenizer)):
        found["cycle_error"] = cycle.compute()[0]
    plan = tiles or half_tiles(int(real.shape[-1]))
    seams, whole = SeamError(plan), AsMeasured(network, dtype)
    if every("seams", lambda batch, _: seams.update(whole, batch)):
        found["seams"] = _seams(seams, plan)
    return HealthRecord.parse(found | {"missing": missing})


def _seams(seams: SeamError, plan: TilePlan) -> dict[str, Any]:  # plain data of SeamRecord
    values = seams.compute()
    return {
        "tiles": f"{plan.tile} pixels, overlap {plan.overlap}",
        "psnr_whole": values.psnr_whole,
        "psnr_tiled": values.psnr_tiled,
        "psnr_between": values.psnr_between,
        "seam_ratio": values.seam_ratio,
        "share": values.share,
    }
