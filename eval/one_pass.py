"""One pass of a tokenizer over the pictures: every picture encoded, decoded and given to all metrics, in shards.

Letters: B pictures, R resolution.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from eval.data import Pictures, Portion
from eval.errors import EvaluationError
from eval.job import depends
from eval.progress import Progress
from eval.protocols import EvaluationProtocol
from eval.report import Panel
from eval.round_trip import RoundTrip, Times, round_trip
from eval.rows import give_rows, take_rows
from eval.settings import DTYPES, ReconstructConfig
from eval.shards import Shard, Shards
from tokenizer.core import seeding
from tokenizer.data.picture import Picture
from tokenizer.model import Tokenizer
from tokenizer.spec import Latent
from tokenizer.tiling import TilePlan

NOTHING = torch.empty(0, dtype=torch.uint8)


class Gatherer(Protocol):
    """What sums up latents during the pass."""

    def update(self, latent: Latent) -> None:
        """Add the latent of a batch."""
        ...

    def take(self) -> dict[str, Tensor]:
        """Sums by name over what was added since it was made or last asked; it starts anew."""
        ...

    def add_state(self, state: Mapping[str, Tensor]) -> None:
        """Add what ``take`` gave."""
        ...


@dataclass(slots=True)
class Job:
    """All parts of one evaluation, ready to run.

    Attributes:
        gatherers: what sums up latents, by name; their sums are kept with every shard.
        began: whether this process has made a batch.
    """

    config: ReconstructConfig
    device: torch.device
    tokenizer: Tokenizer
    pictures: Pictures
    panels: tuple[Panel, ...]
    tiles: TilePlan | None
    gatherers: Mapping[str, Gatherer] = field(default_factory=dict)
    began: bool = False

    @property
    def protocol(self) -> EvaluationProtocol:
        """The first protocol; all of them share its pictures and its use of the posterior."""
        return self.panels[0].protocol


@dataclass(slots=True)
class Measured:
    """What the pass gave beside the rows of the metrics.

    Attributes:
        files: the pictures measured, in order.
        times: of every batch that did not warm a process up, if there are such.
        content: sha256 over the sha256 of each crop, in order.
    """

    files: list[Picture] = field(default_factory=list)
    times: list[Times] = field(default_factory=list)
    content: str = ""


def shards_of(job: Job) -> Shards:
    """The pass, cut into shards and named by all that its numbers depend on."""
    config = job.config
    target = {
        "spec_id": job.tokenizer.spec_id,
        "tiles": None if config.tiles is None else config.tiles.model_dump(),
        "gatherers": sorted(job.gatherers),
    }
    shared = depends(config, job.device, job.pictures, job.panels)
    return Shards(config.out, "reconstruct", target | shared, len(job.pictures.files), config.shard_images)


def measure(job: Job, shards: Shards) -> None:
    """Encode, decode and compare every picture that no earlier run has; returns when all processes have."""
    config, todo = job.config, shards.begin()
    portions = job.pictures.portions(
        job.protocol, config.batch_size, config.data.num_workers, [shards.spans[index] for index in todo]
    )
    with shards.progress() as bar:
        for index, portion in zip(todo, portions, strict=True):
            shards.save(index, _measured(job, portion, bar))
        shards.finish(bar)


def _measured(job: Job, portion: Portion, bar: Progress) -> Shard:
    keys: list[int] = []
    digests, times = [], []
    for batch in portion:
        done = reconstruct(job, batch.data, batch.keys[0])
        for panel in job.panels:
            panel.update(batch.data, done.x_hat, batch.keys)
        for gatherer in job.gatherers.values():
            gatherer.update(done.latent)
        keys += batch.keys
        digests += [hashlib.sha256(crop.numpy()).digest() for crop in batch.data]
        times.append([done.times.count, done.times.encode_s, done.times.decode_s, not job.began])
        job.began = True
        bar.update(len(batch.keys))
    bar.update(len(portion.skipped))
    tensors = {
        "digests": torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8) if digests else NOTHING,
        "times": torch.tensor(times, dtype=torch.float64),
    }
    for panel in job.panels:
        tensors |= _below(panel.protocol.name, take_rows(panel.metrics))
    for name, gatherer in job.gatherers.items():
        tensors |= _below(f"gatherers/{name}", gatherer.take())
    return Shard(keys, tensors, portion.skipped, {"num_upsampled": portion.num_upsampled})


def reconstruct(job: Job, real: Tensor, number: int) -> RoundTrip:
    """Pictures (B, 3, R, R) through the tokenizer and back, and how long both halves took.

    A sampled posterior is drawn from the protocol's seed and the number of the first picture.
    """
    config, protocol = job.config, job.protocol
    sampled = protocol.posterior == "sample"
    try:
        return round_trip(
            job.tokenizer,
            real,
            device=job.device,
            dtype=DTYPES[config.dtype],
            tiles=job.tiles,
            generator=seeding.generator(protocol.interval.seed, "posterior", number) if sampled else None,
        )
    except ValueError as error:
        raise EvaluationError(f"tokenizer={config.tokenizer} dtype={config.dtype}: {error}") from None


def collect(job: Job, shards: Shards) -> Measured:
    """Give every metric its rows of all shards, in order, and add up the rest.

    Raises:
        EvaluationError: if no picture could be read, or a shard is gone.
    """
    measured, digest, all_times = Measured(), hashlib.sha256(), []
    for shard in shards:
        for panel in job.panels:
            give_rows(panel.metrics, _in(panel.protocol.name, shard.tensors))
        for name, gatherer in job.gatherers.items():
            gatherer.add_state(_in(f"gatherers/{name}", shard.tensors))
        measured.files += [job.pictures.files[key] for key in shard.keys]
        job.pictures.note(shard.skipped, shard.notes["num_upsampled"])
        digest.update(shard.tensors["digests"].numpy().tobytes())
        all_times += shard.tensors["times"].tolist()
    if not measured.files:
        raise EvaluationError(f"none of the {len(job.pictures.files)} pictures can be read")
    kept = [row for row in all_times if not row[3]] or all_times
    measured.times = [Times(int(count), encode_s, decode_s) for count, encode_s, decode_s, _ in kept]
    measured.content = digest.hexdigest()
    return measured


def _below(head: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{head}/{name}": tensor for name, tensor in tensors.items()}


def _in(head: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{head}/"): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{head}/")
    }
