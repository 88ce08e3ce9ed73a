"""The pictures that samples are compared with, read once in shards: real features, and the nearest to each sample.

The metrics' real side comes from the training pictures, or from the npz that ``reference`` names.
"""

from dataclasses import dataclass

from eval.data import Portion
from eval.errors import EvaluationError
from eval.generator import Job
from eval.job import depends
from eval.metrics.score import SetMetric
from eval.nearest import NearestPhotographs, Neighbour
from eval.pixels import as_seen
from eval.progress import Progress
from eval.rows import give_rows, take_rows
from eval.samples import Samples
from eval.shards import Shard, Shards


@dataclass(frozen=True, slots=True)
class Photographs:
    """What was read, or is to be read.

    Attributes:
        samples: whose nearest photographs are sought; None for the metrics' sake alone.
        shards: of the training pictures; None where nobody asks for them.
        reference: of the pictures in the npz; None where there are none to read.
    """

    samples: Samples | None
    shards: Shards | None
    reference: Shards | None

    @classmethod
    def of(cls, job: Job, samples: Samples | None) -> "Photographs":
        """What a job has to read, named by all that the results depend on."""
        config, files = job.config, job.pictures.files
        shared = depends(config, job.device, job.pictures, [job.panel])
        shared["reference"] = None if job.reference is None else job.reference.sha256
        own = {"nearest_to": None if samples is None else samples.shards.key}
        size = config.shard_images
        needs_files = samples is not None or job.reference is None
        shards = Shards(config.out, "reference", shared | own, len(files), size) if needs_files else None
        count = 0 if job.reference is None or not _waiting(job) else job.reference.num_pictures
        npz = Shards(config.out, "npz", shared, count, size) if count else None
        return cls(samples, shards, npz)

    def __len__(self) -> int:
        return sum(shards.total for shards in (self.shards, self.reference) if shards is not None)

    def read(self, job: Job, *, before: int = 0, to_come: int = 0) -> None:
        """Read what no earlier run has; returns when all processes have.

        Args:
            job: whose pictures and metrics.
            before: pictures of earlier phases of the job.
            to_come: pictures of later ones.

        Raises:
            CorruptPictureError: at the first file that cannot be read, unless the protocol skips such.
        """
        if self.shards is not None:
            after = to_come + len(self) - self.shards.total
            self._read_files(job, self.shards, before, after)
            before += self.shards.total
        if self.reference is not None:
            self._read_npz(job, self.reference, before, to_come)

    def collect(self, job: Job) -> tuple[list[Neighbour], int]:
        """Give the metrics the features of all pictures; (neighbours of the samples, training pictures read).

        Raises:
            EvaluationError: if no picture could be read.
        """
        nearest = None if self.samples is None else NearestPhotographs(self.samples.coarse())
        count = 0
        for shard in self.shards or ():
            give_rows(job.metrics, shard.tensors)
            job.pictures.note(shard.skipped, shard.notes["num_upsampled"])
            count += len(shard.keys)
            if nearest is not None:
                nearest.give(shard.tensors)
        for shard in self.reference or ():
            give_rows(job.metrics, shard.tensors)
        if self.shards is not None and not count:
            raise EvaluationError(f"none of the {len(job.pictures.files)} pictures can be read")
        return [] if nearest is None else nearest.result(job.pictures.files), count

    def remove(self) -> None:
        """Forget what was read."""
        for shards in (self.shards, self.reference):
            if shards is not None:
                shards.remove()

    def _read_files(self, job: Job, shards: Shards, before: int, to_come: int) -> None:
        config, todo = job.config, shards.begin()
        nearest = NearestPhotographs(self.samples.coarse()) if self.samples is not None and todo else None
        portions = job.pictures.portions(
            job.protocol, config.batch_size, config.data.num_workers, [shards.spans[index] for index in todo]
        )
        with shards.progress(before=before, to_come=to_come) as bar:
            for index, portion in zip(todo, portions, strict=True):
                shards.save(index, _compared(job, portion, nearest, bar))
            shards.finish(bar)

    def _read_npz(self, job: Job, shards: Shards, before: int, to_come: int) -> None:
        assert job.reference is not None  # there are no shards of it otherwise
        todo = shards.begin()
        pictures = job.reference.pictures() if todo else None
        with shards.progress(before=before, to_come=to_come) as bar:
            for index in todo:
                span = shards.spans[index]
                for first in range(span.start, span.stop, job.config.batch_size):
                    keys = range(first, min(first + job.config.batch_size, span.stop))
                    assert pictures is not None  # something is to do
                    part = pictures[keys.start : keys.stop].contiguous()
                    for metric in _waiting(job):
                        metric.update_real(part, keys)
                    bar.update(len(keys))
                shards.save(index, Shard(span, take_rows(job.metrics)))
            shards.finish(bar)


def _compared(job: Job, portion: Portion, nearest: NearestPhotographs | None, bar: Progress) -> Shard:
    keys: list[int] = []
    for batch in portion:
        pictures = as_seen(batch.data, "round_uint8", "uint8")
        if nearest is not None:
            nearest.update(batch.keys, pictures)
        for metric in job.metrics.values() if job.reference is None else ():
            metric.update_real(pictures, batch.keys)
        keys += batch.keys
        bar.update(len(batch.keys))
    bar.update(len(portion.skipped))
    found = {} if nearest is None else nearest.take()
    notes = {"num_upsampled": portion.num_upsampled}
    return Shard(keys, {**found, **take_rows(job.metrics)}, portion.skipped, notes)


def _waiting(job: Job) -> list[SetMetric]:
    """The metrics that need the pictures of a reference, not their statistics."""
    return [metric for metric in job.metrics.values() if getattr(metric, "needs_real", True)]
