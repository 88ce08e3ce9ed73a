"""Warm-up: every network runs in every bucket that may pay, so that kernels are chosen, memory is reserved and the
costs of passes are known before the first request.
"""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING

import torch

from diffusion.pipeline import Pipeline
from service.engine.costs import PAYS
from service.engine.failures import free_memory, is_memory
from service.engine.foreign_pipeline import ForeignPipeline
from service.engine.graphs import RecordedDenoiser
from service.engine.operations.base import to_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.engine.costs import Costs, Kind
    from service.engine.messages import ModelSource
    from service.engine.models import Models
    from tokenizer.model import Tokenizer
    from tokenizer.spec import Latent

logger = logging.getLogger(__name__)

# Sides in pixels of the pictures that tokenizers are measured with: where launching kernels dominates, and where
# work does.
SIDES = (64, 256)
# After so many buckets in a row that do not pay, larger ones are not tried.
PATIENCE = 2
# As routes count the cost of generation: so many steps cost what a decode does. Rates are told for TYPICAL_STEPS.
STEPS_PER_DECODE = 8
TYPICAL_STEPS = 20


class Warmup:
    """Measures passes into ``costs``.

    Args:
        models: device, type and limits; and for a generator, its tokenizer.
        costs: is told.
    """

    def __init__(self, models: Models, costs: Costs) -> None:
        self._models = models
        self._costs = costs

    def pieces(self, source: ModelSource, model: Tokenizer | Pipeline | ForeignPipeline) -> Iterator[None]:
        """Warm a model up; between two pieces, none longer than a few passes, other work can be done."""
        until = time.monotonic() + self._models.settings.warmup_s
        if isinstance(model, ForeignPipeline):  # its passes are whole requests, as large as memory allows
            model.measure()
            yield
            return
        if isinstance(model, Pipeline):
            yield from self._grow({("step", source.name): _steps(model)}, until)
            yield from self._record(("step", source.name), model)
            return
        runs = {
            ("encode", source.name): self._encodes(model),
            ("decode", source.name): self._decodes(model),
        }
        yield from self._grow(runs, until)
        for size in _sizes(self._models, model):
            for bucket in self._costs.buckets:
                parts = [self._costs.measured(kind, math.prod(size), bucket) for kind in runs]
                if None not in parts:
                    total = sum(part for part in parts if part is not None)
                    self._costs.set(("reconstruct", source.name), math.prod(size), bucket, total)

    def _grow(self, runs: dict[Kind, dict[int, Callable[[int], object]]], until: float) -> Iterator[None]:
        """Measure each kind at each size, bucket after bucket, while larger ones pay and time is left."""
        patience = {(kind, pixels): PATIENCE for kind, sizes in runs.items() for pixels in sizes}
        best: dict[tuple[Kind, int], float] = {}
        for bucket in self._costs.buckets:
            for (kind, pixels), left in list(patience.items()):
                late = bucket > 1 and time.monotonic() > until
                if not left or late or not self._costs.holds(kind, pixels, bucket):
                    continue
                seconds = self._measure(partial(runs[kind][pixels], bucket))
                known = best.get((kind, pixels), math.inf)
                if seconds is None:
                    self._costs.too_much(kind, pixels, bucket)
                    patience[kind, pixels] = 0
                else:
                    self._costs.set(kind, pixels, bucket, seconds)
                    best[kind, pixels] = min(known, seconds / bucket)
                    pays = seconds / bucket <= PAYS * known
                    enough = seconds > self._costs.max_seconds
                    patience[kind, pixels] = 0 if enough else PATIENCE if pays else left - 1
                yield

    def _record(self, kind: Kind, pipeline: Pipeline) -> Iterator[None]:
        """Replace the network's steps by recorded ones, for the buckets where those are faster."""
        mode, device = self._models.settings.compile, self._models.device
        if mode == "off" or device.type != "cuda":
            return
        pipeline.denoiser = denoiser = RecordedDenoiser(pipeline.denoiser)
        for pixels, step in _steps(pipeline).items():
            for bucket in self._costs.paying(kind, pixels):
                known = self._costs.measured(kind, pixels, bucket)
                rows = 2 * bucket  # with and without class
                try:
                    denoiser.record(rows, device)
                    seconds = self._measure(partial(step, bucket))
                except RuntimeError as error:
                    logger.warning("steps of %d rows cannot be recorded: %s", bucket, error)
                    seconds = None
                yield
                if seconds is None or (mode == "auto" and known and seconds > PAYS * known):
                    denoiser.forget(rows)
                else:
                    self._costs.set(kind, pixels, bucket, seconds)
        logger.info("%s %s replays steps of %s rows", *kind, denoiser.recorded or "no")

    def _measure(self, run: Callable[[], object]) -> float | None:
        """Seconds of a pass once it is warm; None if memory does not hold it."""
        try:
            first = self._timed(run)
            if first > self._costs.max_seconds:
                return first
            return min(self._timed(run) for _ in range(2))
        except BaseException as error:
            if not is_memory(error):
                raise
        free_memory()
        return None

    def _timed(self, run: Callable[[], object]) -> float:
        started = time.monotonic()
        run()
        if self._models.device.type == "cuda":
            torch.cuda.synchronize(self._models.device)
        return time.monotonic() - started

    def _encodes(self, model: Tokenizer) -> dict[int, Callable[[int], object]]:
        """Encoding by pixels of a picture; each takes the rows."""

        def encode(rows: int, size: tuple[int, ...]) -> object:
            x = torch.zeros(rows, 3, *size, device=self._models.device, dtype=self._models.dtype)
            return model.encode(x, tiles=self._models.tiles(size))

        return {math.prod(size): partial(encode, size=size) for size in _sizes(self._models, model)}

    def _decodes(self, model: Tokenizer) -> dict[int, Callable[[int], object]]:
        """Decoding by pixels of a picture; each takes the rows."""

        def decode(rows: int, size: tuple[int, ...]) -> object:
            x = torch.zeros(1, 3, *size, device=self._models.device, dtype=self._models.dtype)
            latents[size] = latent = latents.get(size) or model.encode(x, tiles=self._models.tiles(size))
            parts, indices = (
                {name: value.expand(rows, *value.shape[1:]) for name, value in tensors.items()}
                for tensors in (latent.parts, latent.indices)
            )
            many = type(latent)(parts, size, latent.spec_id, indices)
            return to_pixels(model.decode(many, tiles=self._models.tiles(size)))

        latents: dict[tuple[int, ...], Latent] = {}
        return {math.prod(size): partial(decode, size=size) for size in _sizes(self._models, model)}


def _sizes(models: Models, model: Tokenizer) -> list[tuple[int, ...]]:
    """Padded sizes to measure at, the smaller first; those that this server takes."""
    padded = sorted({model.spec.padded((side, side)) for side in SIDES}, key=math.prod)
    return [size for size in padded if math.prod(size) <= models.settings.max_pixels] or padded[:1]


def _steps(pipeline: Pipeline) -> dict[int, Callable[[int], object]]:
    """A guided step by pixels of a picture; each takes the rows."""

    def step(rows: int) -> object:
        z = pipeline.noise([0]).expand(rows, -1, -1, -1).contiguous()
        t = torch.full((rows,), 0.5, device=z.device)
        y = torch.zeros(rows, dtype=torch.int64, device=z.device)
        return pipeline.step(z, t, t / 2, y, torch.full_like(t, 2.0))

    return {math.prod(size): step for size in pipeline.sizes}


def seconds_per_cost(models: Models, costs: Costs) -> dict[tuple[str, str], float]:
    """Measured seconds per unit of a job's cost, by name of its class and model; see the routes for the units."""
    rates: dict[tuple[str, str], float] = {}
    for name in models.tokenizers:
        for kind, job, units in (
            ("encode", "EncodeJob", 1),
            ("decode", "DecodeJob", 1),
            ("reconstruct", "ReconstructJob", 2),
        ):
            rate = costs.seconds_per_pixel((kind, name))
            if rate is not None:
                rates[job, name] = rate / units
    for name, tokenizer in models.tokenizer_of.items():
        step, decode = (costs.seconds_per_pixel(kind) for kind in (("step", name), ("decode", tokenizer)))
        if step is not None and decode is not None:
            cost_per_pixel = 1 + TYPICAL_STEPS / STEPS_PER_DECODE
            rates["GenerateJob", name] = (TYPICAL_STEPS * step + decode) / cost_per_pixel
    return rates
