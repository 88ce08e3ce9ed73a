"""What a job makes in numbered parts, kept so that the same job goes on where it was killed.

A part is a safetensors file, written whole or not at all, whose header names the job that it belongs to and the
sha256 of what it holds: a part of another job, a damaged one and one cut short are no parts. Batches never cross
parts, so a part does not depend on who made it or on what was made before.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tokenizer.core.checkpoint import flush

logger = logging.getLogger(__name__)

HEADER = "tessera"


def spans(total: int, size: int) -> list[range]:
    """Numbers 0 to total - 1 in runs of ``size``; the last may be shorter."""
    return [range(first, min(first + size, total)) for first in range(0, total, size)]


class Parts:
    """The parts of one job in a folder, which must exist when one is saved.

    Args:
        folder: where they lie.
        owner: what names the job, in the header of every part.
    """

    def __init__(self, folder: Path, owner: Mapping[str, str]) -> None:
        self.folder = folder
        self.owner = dict(owner)

    def path(self, index: int) -> Path:
        """The file of a part."""
        return self.folder / f"shard-{index:05d}.safetensors"

    def save(self, index: int, tensors: Mapping[str, Tensor]) -> None:
        """Write a part, whole or not at all."""
        own = {name: tensor.contiguous() for name, tensor in tensors.items()}
        # one key: safetensors does not keep the order of several
        metadata = {HEADER: self._header(index, own)}
        write_whole(self.path(index), lambda file: save_file(own, file, metadata=metadata))

    def load(self, index: int) -> dict[str, Tensor] | None:
        """The tensors of a part on the CPU; None if it is not there or does not verify, which a warning names."""
        path = self.path(index)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                header = (file.metadata() or {}).get(HEADER)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        except SafetensorError as error:
            logger.warning("%s is damaged and made again: %s", path, error)
            return None
        if header != self._header(index, tensors):
            logger.warning("%s does not verify and is made again", path)
            return None
        return tensors

    def is_whole(self, index: int) -> bool:
        """Whether a part is there and verifies."""
        return self.load(index) is not None

    def missing(self, count: int) -> list[int]:
        """Those of the first ``count`` that are not there or do not verify."""
        return [index for index in range(count) if not self.is_whole(index)]

    def _header(self, index: int, tensors: Mapping[str, Tensor]) -> str:
        digest = hashlib.sha256()
        for name in sorted(tensors):
            digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode())
            digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data)
        return json.dumps(self.owner | {"shard": index, "sha256": digest.hexdigest()}, sort_keys=True)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file, then give it its name: whole or not at all, on disk when this returns."""
    temporary = path.with_name(f".{path.name}.tmp")
    write(temporary)
    flush(temporary)
    os.replace(temporary, path)
    flush(path.parent)
