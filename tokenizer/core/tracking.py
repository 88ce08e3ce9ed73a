"""What a run shows: a progress bar, scalars for TensorBoard and as lines of JSON, and pictures as PNG files."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Never, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

SCALARS = "scalars.jsonl"


def append_scalars(file: Path, images: int, values: Mapping[str, float]) -> None:
    """Add one line, ``{"images": ..., name: value}``; what is not finite becomes text, since JSON has no NaN."""
    entry = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
    with file.open("ab+") as stream:
        if stream.tell() and os.pread(stream.fileno(), 1, stream.tell() - 1) != b"\n":
            stream.write(b"\n")  # a process ended in the middle of the line before
        stream.write(json.dumps({"images": images} | entry).encode() + b"\n")


def read_scalars(file: Path) -> list[dict[str, float]]:
    """The lines in the order of their positions; where a resumed run came by twice, the later line counts.

    A line that was cut short by the end of a process is left out.
    """
    found: dict[tuple[float, frozenset[str]], dict[str, float]] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            entry = {name: float(value) for name, value in json.loads(line).items()}
        except (ValueError, TypeError, AttributeError):
            continue
        found[entry["images"], frozenset(entry)] = entry
    return sorted(found.values(), key=lambda entry: entry["images"])


class Averages:
    """Running means of named scalars, kept on their device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Count each value once."""
        for name, value in values.items():
            tensor = torch.as_tensor(value).detach().float()
            self._sums[name] = self._sums[name] + tensor if name in self._sums else tensor
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """The means since the last reading, and start again."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


class Tracker:
    """Progress bar, scalars and pictures of one run; silent on all processes but the main one.

    Args:
        path: the run's folder; scalars go to ``tensorboard/`` and ``scalars.jsonl``, pictures to ``pictures/``.
        main: whether this process shows anything.
    """

    def __init__(self, path: Path, *, main: bool) -> None:
        self.path = path
        self.main = main
        self._bar: tqdm[Never] | None = None
        self._writer = None
        if main:
            from torch.utils.tensorboard import SummaryWriter

            path.mkdir(parents=True, exist_ok=True)
            self._writer = SummaryWriter(str(path / "tensorboard"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def begin(self, name: str, done: int, total: int) -> None:
        """Show a new bar: ``name``, counted in images, with images/s and the time left."""
        if self._bar is not None:
            self._bar.close()
        self._bar = tqdm(
            initial=done,
            total=total,
            desc=name,
            unit="img",
            disable=not self.main,
            mininterval=1.0,
            smoothing=0.05,
        )

    def advance(self, images: int) -> None:
        """Move the bar."""
        assert self._bar is not None, "begin() comes first"
        self._bar.update(images)

    def scalars(self, images: int, values: Mapping[str, float], show: Sequence[str] = ()) -> None:
        """Write scalars at a position; those in ``show`` also stand beside the bar."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, images)
            append_scalars(self.path / SCALARS, images, values)
        if self._bar is not None:
            self._bar.set_postfix(
                {name: f"{values[name]:.4g}" for name in show if name in values}, refresh=False
            )

    def picture(self, images: int, name: str, data: Tensor) -> Path | None:
        """Write (H, W, 3) uint8 as ``pictures/<name>_<images>.png`` and to TensorBoard; returns the file."""
        if self._writer is None:
            return None
        file = self.path / "pictures" / f"{name}_{images:09d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        array = data.cpu().numpy()
        Image.fromarray(array).save(file)
        self._writer.add_image(name, np.moveaxis(array, -1, 0), images)
        return file


def grid(rows: Sequence[Tensor], gap: int = 2) -> Tensor:
    """Rows of pictures, each (N, 3, H, W) uint8 with equal N -> one picture (H_total, W_total, 3) uint8 on white."""
    lines = []
    for row in rows:
        padded = torch.nn.functional.pad(row, (gap, gap, gap, gap), value=255)
        lines.append(torch.cat(list(padded), dim=2))
    return torch.cat(lines, dim=1).permute(1, 2, 0).contiguous()
