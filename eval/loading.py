"""How fast pictures reach a trainer: from a folder, from our tar shards, and through the `webdataset` package.

``python -m eval.loading data.path=PICTURES``: the same pictures, decoded and cropped by the same functions, so that
what differs is where bytes come from and how they are found. All three are shuffled as in training. The contenders
take turns pass by pass, so a machine that slows down slows all; files are in the page cache after the first pass,
which is not counted.
"""

import importlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from eval import machine
from eval.data import evenly
from eval.errors import EvaluationError
from eval.report import write_text
from tokenizer.core import seeding
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.data.images import Images, Positions, Sample, TrainingOrder, loader
from tokenizer.data.pack import PackConfig, pack
from tokenizer.data.picture import SUFFIXES, read_image
from tokenizer.data.source import open_source
from tokenizer.data.tar_index import index_path
from tokenizer.data.transforms import as_bytes, random_crop

MAX_SCALE = 1.25
SHUFFLED = 1000


class LoadingData(Config):
    """Which pictures."""

    path: Path = Field(description="folder of pictures, or .tar shards")
    num_images: int = Field(default=2000, ge=2, description="taken evenly over all")


class LoadingConfig(Config):
    """Images/s of decoding and cropping, from a folder, from our shards and through the webdataset package."""

    data: LoadingData
    resolution: int = Field(default=256, ge=8)
    batch: int = Field(default=32, ge=1)
    num_workers: int = Field(
        default=0, ge=0, description="processes that decode; 0: this one, which measures best"
    )
    shard_images: int = Field(default=250, ge=1)
    repeats: int = Field(default=3, ge=1, description="counted passes of each")
    work: Path | None = Field(
        default=None, description="where the copies lie meanwhile; else the system's place"
    )
    out: Path | None = Field(default=None, description="folder for loading.json")


class Pass(NamedTuple):
    """One pass over all pictures: seconds by the clock, and of the processor in all processes."""

    seconds: float
    processor_s: float


class Rate(Config):
    """One contender."""

    images_per_s: float = Field(description="of the median pass")
    best_images_per_s: float
    processor_ms: float = Field(description="processor time a picture, of the median pass")


class LoadingReport(Config):
    """``loading.json``."""

    format: Literal[1] = 1
    job: Literal["loading"] = "loading"
    num_images: int
    encoded_bytes: int
    resolution: int
    num_workers: int
    repeats: int
    index_s: float = Field(description="to index all shards, once")
    rates: dict[str, Rate]
    ratios: dict[str, float] = Field(description="images/s of our shards over those of each other, medians")
    processor_ratios: dict[str, float] = Field(
        description="processor time of our shards over that of each other"
    )
    not_measured: dict[str, str]
    machine: machine.Machine
    commit: str | None

    def summary(self) -> str:
        """A table for the terminal."""
        mean = self.encoded_bytes / self.num_images / 1000
        lines = [
            f"{self.num_images} pictures of {mean:.1f} kB on average, crops of {self.resolution}, "
            f"{self.num_workers} workers; indexing took {1000 * self.index_s:.1f} ms",
            f"{'source':12s} {'images/s':>10s} {'best':>10s} {'processor ms':>13s}",
        ]
        for name, rate in self.rates.items():
            lines.append(
                f"{name:12s} {rate.images_per_s:10.1f} {rate.best_images_per_s:10.1f} {rate.processor_ms:13.3f}"
            )
        for name, ratio in self.ratios.items():
            busy = self.processor_ratios[name]
            lines.append(f"shards / {name}: images/s x {ratio:.3f}, processor time x {busy:.3f}")
        lines += [f"{name}: not measured, {why}" for name, why in self.not_measured.items()]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture whose bytes are at hand already."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name

    @property
    def num_bytes(self) -> int:
        """Bytes of the encoded picture."""
        return len(self.content)

    def read(self) -> bytes:
        """The encoded picture."""
        return self.content


class Cropped:
    """A sample of webdataset -> the same crop of it that training takes; picklable, for the loader's workers."""

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution

    def __call__(self, sample: dict[str, Any]) -> Sample:  # bytes by extension, and what webdataset notes
        """One crop."""
        key = sample["__key__"]
        (content,) = (value for name, value in sample.items() if f".{name}" in SUFFIXES)
        number = seeding.key(0, "sample", 0, key)
        image = random_crop(
            read_image(Encoded(key, content)),
            self.resolution,
            generator=seeding.generator(number, "crop"),
            max_scale=MAX_SCALE,
            flip=True,
        )
        label = int(sample.get("cls", b"0"))
        return Sample(
            data=as_bytes(image), label=torch.tensor(label), index=torch.tensor(0), key=torch.tensor(number)
        )


def run(config: LoadingConfig) -> LoadingReport:
    """Copy, pack, measure.

    Raises:
        EvaluationError: if the pictures cannot be had.
    """
    try:
        with tempfile.TemporaryDirectory(dir=config.work) as work:
            report = _measure(config, Path(work))
        if config.out is not None:
            config.out.mkdir(parents=True, exist_ok=True)
            write_text(config.out / "loading.json", report.model_dump_json(indent=1) + "\n")
    except (ValueError, OSError) as error:
        raise EvaluationError(str(error)) from error
    return report


def _measure(config: LoadingConfig, work: Path) -> LoadingReport:
    count, encoded_bytes = copy_some(config.data, work / "folder")
    shards = pack(PackConfig(path=work / "folder", out=work / "shards", shard_images=config.shard_images))
    files = [shard.path for shard in shards.shards]
    for file in files:
        index_path(file).unlink()
    begin = time.perf_counter()
    open_source(work / "shards")
    index_s = time.perf_counter() - begin
    passes: dict[str, Callable[[], Iterator[Sample]]] = {
        "folder": lambda: _ours(work / "folder", config),
        "shards": lambda: _ours(work / "shards", config),
    }
    missing: dict[str, str] = {}
    try:
        webdataset = importlib.import_module("webdataset")
        passes["webdataset"] = lambda: _theirs(webdataset, files, config)
    except ImportError:
        missing["webdataset"] = "the package is not installed: pip install webdataset, or the extra `bench`"
    found = take_turns(passes, count, config.repeats)
    rates = {name: _rate(times, count) for name, times in found.items()}
    others = [name for name in rates if name != "shards"]
    ours = rates["shards"]
    return LoadingReport(
        num_images=count,
        encoded_bytes=encoded_bytes,
        resolution=config.resolution,
        num_workers=config.num_workers,
        repeats=config.repeats,
        index_s=index_s,
        rates=rates,
        ratios={name: ours.images_per_s / rates[name].images_per_s for name in others},
        processor_ratios={name: ours.processor_ms / rates[name].processor_ms for name in others},
        not_measured=missing,
        machine=machine.describe(torch.device("cpu")),
        commit=machine.commit(),
    )


def copy_some(data: LoadingData, folder: Path) -> tuple[int, int]:
    """Copy pictures, evenly over all, below ``folder``; how many, and their bytes."""
    source = open_source(data.path)
    chosen = evenly(range(len(source)), data.num_images)
    total = 0
    for index in chosen:
        picture = source[index]
        name = source.class_names[source.label(index)]
        file = folder / (name.replace("/", "_") or ".") / f"{index:08d}{Path(picture.name).suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture.read())
        total += picture.num_bytes
    return len(chosen), total


def take_turns(
    passes: dict[str, Callable[[], Iterator[Sample]]], count: int, repeats: int
) -> dict[str, list[Pass]]:
    """Times of ``repeats`` passes of each, after one that is not counted; ValueError if pictures are missing."""
    found: dict[str, list[Pass]] = {name: [] for name in passes}
    with tqdm(total=(1 + repeats) * len(passes), desc="loading", unit="pass") as bar:
        for turn in range(1 + repeats):
            order = list(passes) if turn % 2 == 0 else list(passes)[::-1]
            for name in order:
                bar.set_postfix_str(name)
                begin, busy = time.perf_counter(), _processor_s()
                seen = sum(len(batch["data"]) for batch in passes[name]())
                taken = Pass(time.perf_counter() - begin, _processor_s() - busy)
                if seen != count:
                    raise ValueError(f"{name} gave {seen} of {count} pictures")
                if turn:
                    found[name].append(taken)
                bar.update()
    return found


def _ours(path: Path, config: LoadingConfig) -> Iterator[Sample]:
    order = TrainingOrder(Images(path, config.resolution), seed=0, max_scale=MAX_SCALE)
    positions = _Once(len(order), config.batch)
    yield from loader(order, positions, config.num_workers)


class _Once(Positions):
    """One epoch, its last batch short: every contender sees each picture once."""

    def __init__(self, count: int, batch: int) -> None:
        super().__init__(0, count, batch)

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(0, self.stop, self.batch):
            yield list(range(first, min(first + self.batch, self.stop)))


def _theirs(
    webdataset: Any, files: Sequence[Path], config: LoadingConfig
) -> Iterator[Sample]:  # may be absent
    names = [str(file) for file in files]
    samples = webdataset.WebDataset(names, shardshuffle=len(names), seed=0, empty_check=False)
    data: Dataset[Sample] = samples.shuffle(SHUFFLED, seed=0).map(Cropped(config.resolution))
    yield from DataLoader(
        data,
        batch_size=config.batch,
        num_workers=config.num_workers,
        prefetch_factor=4 if config.num_workers else None,
    )


def _processor_s() -> float:
    """Of this process and of its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def _rate(times: Sequence[Pass], count: int) -> Rate:
    ordered = sorted(times)
    middle = ordered[len(ordered) // 2]
    busy = sorted(item.processor_s for item in times)[len(times) // 2]
    return Rate(
        images_per_s=count / middle.seconds,
        best_images_per_s=count / ordered[0].seconds,
        processor_ms=1000 * busy / count,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(LoadingConfig, "eval.loading", argv=argv)
    with refusals("eval.loading"):
        report = run(config)
    sys.stdout.write(report.summary())


if __name__ == "__main__":
    main()
