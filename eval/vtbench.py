"""VTBench's three tasks, from folders in its layout.

``python -m eval.vtbench tokenizer=SOURCE data=DIR resolution=256 out=DIR`` measures a tokenizer on every set that the
folder holds, each in ``DIR/TASK/SPLIT`` (``task1-imagenet/val``, ``task3-multilingual/Chinese``, ...), under the
protocol ``vtbench`` or another; ``python -m eval.vtbench pairs=DIR out=DIR`` measures what VTBench's own program left
in ``DIR/original_images`` and ``DIR/reconstructed_images``. ``out/vtbench.json`` and ``out/vtbench.md`` hold the table.
Source: Lin et al. 2025, VTBench: Evaluating Visual Tokenizers for Autoregressive Image Generation, arXiv 2505.13439.

Letters: B pictures.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from eval import machine, reconstruct
from eval.data import DataConfig
from eval.errors import CorruptPictureError, EvaluationError
from eval.pixels import resized
from eval.protocols import protocol
from eval.report import Computed, NotComputed, Panel, ProtocolRecord, check_required, not_computed, write_text
from eval.settings import ReconstructConfig
from eval.weights import WeightsConfig
from tokenizer.core.config import Config, from_cli, refusals

TASKS: dict[str, tuple[str, ...]] = {
    "task1-imagenet": ("val",),
    "task1-high-resolution": ("test",),
    "task1-varying-resolution": ("test",),
    "task2-detail-preservation": ("test",),
    "task3-movie-posters": ("test",),
    "task3-arxiv-abstracts": ("test",),
    "task3-multilingual": ("Chinese", "Hindi", "Japanese", "Korean"),
}
TEXT_METRICS = ("text_cer", "text_wer")
METRIC_SIDE = 256


class VTBenchConfig(Config):
    """Run VTBench's tasks, or measure pictures that were reconstructed elsewhere."""

    tokenizer: str | None = Field(default=None, description="any source of eval.reconstruct")
    data: Path | None = Field(default=None, description="folder with VTBench's sets, as DIR/TASK/SPLIT")
    pairs: Path | None = Field(
        default=None,
        description="folder with original_images and reconstructed_images, instead of a tokenizer",
    )
    out: Path = Field(description="folder for vtbench.json, vtbench.md and a report of each set")
    resolution: int = Field(default=256, ge=16, description="the tokenizer's own: 256 to 1024 in VTBench")
    protocol: str = "vtbench"
    tasks: tuple[str, ...] | None = Field(default=None, description="only these sets, as TASK or TASK/SPLIT")
    metrics: tuple[str, ...] | None = Field(
        default=None, description="only these; else the protocol's, and text errors in task 3 and for pairs"
    )
    require: tuple[str, ...] = Field(default=(), description="metrics without which a set fails")
    weights: WeightsConfig = WeightsConfig()
    batch_size: int = Field(default=8, ge=1)
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    max_images: int | None = Field(default=None, ge=1, description="of each set, evenly spaced in order")


class SetResult(Config):
    """The metrics of one set."""

    name: str
    num_images: int
    metrics: dict[str, Computed | NotComputed]


class VTBenchReport(Config):
    """``vtbench.json``."""

    tokenizer: str | None
    protocol: ProtocolRecord
    sets: tuple[SetResult, ...]

    def table(self) -> str:
        """One row a set, in Markdown; what was not computed is a dash."""
        names = list(dict.fromkeys(name for item in self.sets for name in item.metrics))
        lines = [
            f"{self.protocol.name} {self.protocol.hash} at {self.protocol.settings.resolution}",
            "",
            f"| set | pictures | {' | '.join(names)} |",
            f"|---|---|{'---|' * len(names)}",
        ]
        for item in self.sets:
            values = (item.metrics.get(name) for name in names)
            cells = (f"{entry.value:.4f}" if isinstance(entry, Computed) else "-" for entry in values)
            lines.append(f"| {item.name} | {item.num_images} | {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(VTBenchConfig, "eval.vtbench", None, argv)
    with refusals("eval.vtbench"):
        report = run(config)
    sys.stdout.write(report.table())


def run(config: VTBenchConfig) -> VTBenchReport:
    """Measure and write; returns the report.

    Raises:
        EvaluationError: if the job cannot run as asked, or a picture is corrupt.
    """
    if (config.pairs is None) == (config.tokenizer is None or config.data is None):
        raise EvaluationError("either tokenizer=SOURCE and data=DIR, or pairs=DIR")
    try:
        named = protocol(config.protocol, config.resolution)
    except ValueError as error:
        raise EvaluationError(str(error)) from None
    sets = tuple(_sets(config)) if config.pairs is None else (measure_pairs(config, config.pairs),)
    report = VTBenchReport(tokenizer=config.tokenizer, protocol=ProtocolRecord.of(named), sets=sets)
    config.out.mkdir(parents=True, exist_ok=True)
    write_text(config.out / "vtbench.json", json.dumps(report.model_dump(mode="json"), indent=1) + "\n")
    write_text(config.out / "vtbench.md", report.table())
    return report


def _sets(config: VTBenchConfig) -> Iterator[SetResult]:
    assert config.data is not None
    assert config.tokenizer is not None
    for name, folder in found_sets(config.data, config.tasks).items():
        named = protocol(config.protocol, config.resolution)
        text = TEXT_METRICS if name.startswith("task3") else ()
        report = reconstruct.run(
            ReconstructConfig(
                tokenizer=config.tokenizer,
                data=DataConfig(path=folder, resolution=config.resolution, max_images=config.max_images),
                out=config.out / name,
                protocol=config.protocol,
                metrics=config.metrics or (*named.reconstruction, *text),
                require=config.require,
                weights=config.weights,
                batch_size=config.batch_size,
                device=config.device,
            )
        )
        yield SetResult(name=name, num_images=report.num_images, metrics=report.metrics)


def found_sets(data: Path, wanted: Sequence[str] | None = None) -> dict[str, Path]:
    """TASK/SPLIT -> its folder, for the sets that are there, in VTBench's order.

    Raises:
        EvaluationError: for a name that VTBench does not have, one that is asked for and missing, or none at all.
    """
    names = [f"{task}/{split}" for task, splits in TASKS.items() for split in splits]
    for name in wanted or ():
        if name not in names and name not in TASKS:
            raise EvaluationError(f"tasks={name}: VTBench has {', '.join(names)}")
    chosen = [name for name in names if wanted is None or name in wanted or name.split("/")[0] in wanted]
    there = {name: data / name for name in chosen if (data / name).is_dir()}
    if wanted is not None and (missing := [name for name in chosen if name not in there]):
        raise EvaluationError(f"{data} lacks {', '.join(missing)}")
    if not there:
        raise EvaluationError(f"{data} holds none of VTBench's sets: {', '.join(names)}")
    return there


def measure_pairs(config: VTBenchConfig, folder: Path) -> SetResult:
    """The metrics of pictures that VTBench's program, or anything else, has written as pairs of equal names.

    They are bytes already, so nothing is truncated again; the protocol's resize before its metrics stays.

    Raises:
        EvaluationError: if names differ or a picture cannot be read.
    """
    named = protocol(config.protocol, config.resolution)
    then = named.quantization.endswith("_then_256")
    written = named.model_copy(update={"quantization": "round_uint8_then_256" if then else "round_uint8"})
    try:
        names = config.metrics or (*named.reconstruction, *TEXT_METRICS)
        panel = Panel(names, written, config.weights, machine.pick_device(config.device))
        check_required(config.require, dict.fromkeys(names), panel.missing)
    except ValueError as error:
        raise EvaluationError(str(error)) from None
    originals, made = (_by_name(folder / side) for side in ("original_images", "reconstructed_images"))
    if originals.keys() != made.keys():
        only = sorted(originals.keys() ^ made.keys())
        raise EvaluationError(f"{folder}: {only[0]} lies on one side only, as do {len(only) - 1} others")
    for first in range(0, len(originals), config.batch_size):
        part = list(originals)[first : first + config.batch_size]
        real, fake = (_read([side[name] for name in part]) for side in (originals, made))
        for index, name in enumerate(part):
            if not then and real[index].shape != fake[index].shape:
                raise EvaluationError(f"{name}: the two pictures differ in size")
        sizes = {picture.shape for picture in (*real, *fake)}
        if len(sizes) > 1 and not then:
            raise EvaluationError(
                f"{folder}: pictures of several sizes need a protocol that brings them to one"
            )
        keys = range(first, first + len(part))
        panel.update(_stack(real, then), _stack(fake, then), keys)
    entries, _ = panel.compute()
    check_required(config.require, entries, not_computed(entries))
    return SetResult(name=folder.name, num_images=len(originals), metrics=entries)


def _by_name(folder: Path) -> Mapping[str, Path]:
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: no such folder")
    found = {path.name: path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".png"}
    if not found:
        raise EvaluationError(f"{folder} holds no PNG")
    return found


def _read(paths: Sequence[Path]) -> list[Tensor]:
    pictures = []
    for path in paths:
        try:
            with Image.open(path, formats=("PNG",)) as image:
                data = np.array(image.convert("RGB"), dtype=np.uint8)
        except (OSError, ValueError) as error:
            raise CorruptPictureError(f"{path} cannot be read: {error}") from None
        pictures.append(torch.from_numpy(data).permute(2, 0, 1))
    return pictures


def _stack(pictures: Sequence[Tensor], to_metric_side: bool) -> Tensor:
    if not to_metric_side:
        return torch.stack(list(pictures))
    return torch.cat([resized(picture.unsqueeze(0).contiguous(), METRIC_SIDE) for picture in pictures])


if __name__ == "__main__":
    main()
