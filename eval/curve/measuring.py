"""One tokenizer at several numbers of tokens.

Letters: N pictures, S of them shown, R resolution, K tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eval.curve.record import CountPoint
from eval.measures.depth import LatentCode, choose
from eval.measures.patch_frechet import PatchFrechet
from eval.metrics.psnr import decibels, mean_squared_error
from eval.pixels import from_uint8, to_uint8
from tokenizer.model import Autoencoder, count_tokens
from tokenizer.quality import allowed, encode_to_quality


@dataclass(frozen=True, slots=True)
class Curve:
    """What was measured of a tokenizer.

    Attributes:
        points: by the number of tokens.
        chosen: by quality.
        shown: reconstructions by the number of tokens, (S, 3, R, R) uint8.
    """

    points: tuple[CountPoint, ...]
    chosen: tuple[CountPoint, ...]
    shown: dict[int, Tensor]


class CurveMeasure:
    """Measures a tokenizer on pictures (N, 3, R, R) uint8.

    Bits are those of what is sent: codes, or continuous values rounded to the fewest bits that cost at most 0.1 dB at
    this number of tokens. With each picture its own number, it is not counted.

    Args:
        tokenizer: whose number of tokens can be chosen.
        pictures: to measure on.
        batch_size: at once.
        device: of the tokenizer.

    Raises:
        ValueError: if its number of tokens cannot be chosen.
    """

    def __init__(
        self, tokenizer: Autoencoder, pictures: Tensor, batch_size: int, device: torch.device
    ) -> None:
        self.allowed = allowed(tokenizer.spec.z)
        self.tokenizer = tokenizer
        self.batches = list(torch.split(pictures, batch_size))
        self.device = device
        self._codes: dict[int, LatentCode | None] = {}

    def counts(self, wanted: Sequence[int] | None, most: int) -> list[int]:
        """Those wanted, or all that are allowed, thinned out evenly to ``most`` with the fewest and the most kept.

        Raises:
            ValueError: if one is not allowed.
        """
        if wanted is not None:
            for count in wanted:
                self.tokenizer.spec.z.check_tokens(count)
            return list(wanted)
        every = list(self.allowed)
        if len(every) <= most:
            return every
        return [every[round(place * (len(every) - 1) / (most - 1))] for place in range(most)]

    @torch.inference_mode()
    def at(self, count: int) -> tuple[CountPoint, Tensor]:
        """All pictures with K tokens: the point, and what they decode to (N, 3, R, R) uint8."""
        xs = [from_uint8(real).to(self.device) for real in self.batches]
        latents = [self.tokenizer.encode(x, num_tokens=count) for x in xs]
        code = None
        if self.tokenizer.spec.z.codebook_size is None:
            code = choose(self.tokenizer, self.batches, latents)
        self._codes[count] = code
        fake = torch.cat(
            [
                to_uint8(self.tokenizer.decode(latent if code is None else code.rounded(latent))).cpu()
                for latent in latents
            ]
        )
        bits = self._bits(count)
        point = CountPoint(
            tokens=count,
            bits_per_pixel=bits / self._pixels,
            bits_per_value=None if code is None else code.depth,
            psnr=float(self._psnr(fake).mean()),
            patch_frechet=self._distance(fake),
        )
        return point, fake

    @torch.inference_mode()
    def by_quality(self, psnr: float, counts: Sequence[int]) -> CountPoint:
        """Each picture with the fewest of these numbers of tokens that reach ``psnr`` dB; ``at`` has seen them all."""
        tokens, parts = [], []
        for real in self.batches:
            x = from_uint8(real).to(self.device)
            for latent in encode_to_quality(self.tokenizer, x, psnr, counts=counts):
                code = self._codes[count_tokens(latent)]
                sent = latent if code is None else code.rounded(latent)
                parts.append(to_uint8(self.tokenizer.decode(sent)).cpu())
                tokens.append(count_tokens(latent))
        fake = torch.cat(parts)
        scores = self._psnr(fake)
        return CountPoint(
            tokens=sum(tokens) / len(tokens),
            bits_per_pixel=sum(map(self._bits, tokens)) / len(tokens) / self._pixels,
            psnr=float(scores.mean()),
            patch_frechet=self._distance(fake),
            quality=psnr,
            reached=float((scores >= psnr).double().mean()),
            spread=(min(tokens), max(tokens)),
        )

    @property
    def _pixels(self) -> int:
        return math.prod(self.batches[0].shape[-2:])

    def _bits(self, count: int) -> float:
        """Of one picture with K tokens."""
        part, code = self.tokenizer.spec.z, self._codes[count]
        if part.codebook_size is not None:
            return count * part.num_codebooks * math.log2(part.codebook_size)
        assert code is not None, "a continuous latent is rounded before it is counted"
        return float(count * part.channels * code.depth)

    def _psnr(self, fake: Tensor) -> Tensor:
        """dB of each picture."""
        return decibels(mean_squared_error(torch.cat(self.batches), fake).clamp_min(1e-10))

    def _distance(self, fake: Tensor) -> float:
        measure = PatchFrechet()
        for real, made in zip(self.batches, torch.split(fake, len(self.batches[0])), strict=True):
            measure.update_real(real)
            measure.update_fake(made)
        return measure.compute().mean


def measure(
    tokenizer: Autoencoder,
    pictures: Tensor,
    *,
    counts: Sequence[int] | None,
    max_counts: int,
    qualities: Sequence[float],
    shown: Sequence[int],
    batch_size: int,
    device: torch.device,
) -> Curve:
    """Everything of one tokenizer; ``shown`` are the places of the pictures that the page shows."""
    work = CurveMeasure(tokenizer, pictures, batch_size, device)
    wanted = work.counts(counts, max_counts)
    points, kept = [], {}
    for count in wanted:
        point, fake = work.at(count)
        points.append(point)
        kept[count] = fake[list(shown)]
    chosen = tuple(work.by_quality(quality, wanted) for quality in sorted(qualities))
    return Curve(tuple(points), chosen, kept)
