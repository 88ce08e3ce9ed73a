"""Which files a command reads and writes. What exists already is finished, and skipped."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from service.client.latent import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STREAM = "-"
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".avif"})
LATENTS = frozenset({".safetensors"})
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "avif": ".avif", "npy": ".npy"}


class Usage(Exception):  # noqa: N818  what was asked for cannot be done
    """A sentence for whoever typed the command."""


@dataclass(frozen=True, slots=True)
class Task:
    """One file to another; None is standard input or output."""

    source: Path | None
    target: Path | None

    @property
    def name(self) -> str:
        """For people."""
        return STREAM if self.source is None else str(self.source)

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        if self.target is None:
            return False
        first = self.target.with_name(f"{self.target.stem}-0{self.target.suffix}")  # of several samples
        return self.target.exists() or first.exists()

    def read(self) -> bytes:
        """The bytes of the source.

        Raises:
            OSError: it cannot be read.
        """
        return sys.stdin.buffer.read() if self.source is None else self.source.read_bytes()

    def write(self, body: bytes) -> None:
        """Whole or not at all; folders are made."""
        if self.target is None:
            sys.stdout.buffer.write(body)
            sys.stdout.buffer.flush()
            return
        self.target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.target, body)


def tasks(inputs: Sequence[str], output: str | None, *, kinds: frozenset[str], suffix: str) -> list[Task]:
    """What is to be done, in the order of the inputs, folders by name.

    Args:
        inputs: files, folders (all files of ``kinds`` below them) and ``-`` for standard input.
        output: a file for one input, a folder for several (their folders are kept below it), ``-`` for standard
            output; None puts results beside their sources, of standard input to standard output.
        kinds: suffixes of files that are taken from folders.
        suffix: of results.

    Raises:
        Usage: something is missing, or two results would have one name.
    """
    found = list(_found(inputs, kinds))
    if not found:
        raise Usage(f"no files of {', '.join(sorted(kinds))} in {', '.join(inputs)}")
    folder_given = any(text != STREAM and Path(text).is_dir() for text in inputs)
    single = len(found) == 1 and not folder_given
    made = [_task(source, home, output, suffix, single) for source, home in found]
    _refuse_clashes(made)
    return made


def _found(inputs: Sequence[str], kinds: frozenset[str]) -> Iterable[tuple[Path | None, Path]]:
    """(source, the folder that its name is told from)."""
    for text in inputs:
        path = Path(text)
        if text == STREAM:
            yield None, Path()
        elif path.is_dir():
            for below in sorted(path.rglob("*")):
                if below.suffix.lower() in kinds and below.is_file():
                    yield below, path
        elif path.is_file():
            yield path, path.parent
        else:
            raise Usage(f"{text}: no such file or folder")


def _task(source: Path | None, home: Path, output: str | None, suffix: str, single: bool) -> Task:
    if output == STREAM or (source is None and output is None):
        if not single:
            raise Usage("several results cannot share standard output: name a folder with -o FOLDER")
        return Task(source, None)
    if output is None:
        assert source is not None  # handled above
        target = source.with_suffix(suffix)
        return Task(source, target if target != source else source.with_name(f"{source.stem}-made{suffix}"))
    where = Path(output)
    if single and not where.is_dir() and not output.endswith("/"):
        return Task(source, where)
    name = Path("stdin") if source is None else source.relative_to(home)
    return Task(source, (where / name).with_suffix(suffix))


def _refuse_clashes(made: Sequence[Task]) -> None:
    seen: dict[Path | None, Task] = {}
    for task in made:
        if task.target in seen:
            raise Usage(
                f"{seen[task.target].name} and {task.name} would both become {task.target or 'standard output'}: "
                "give them separately, with different -o"
            )
        seen[task.target] = task
