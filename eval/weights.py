"""Weights that metrics read: which file, where it comes from, what its hash is. Nothing is ever downloaded.

Files are found only through paths given on the command line and hashed at every load. A file with another
hash is used, but then the metric carries ``_unverified`` in its name: a number is never passed off as the
standard one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from eval.errors import NotComputedError
from tokenizer.core.checkpoint import sha256_of
from tokenizer.core.config import Config

WeightsName = Literal["inception", "vgg16", "alexnet"]


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """A published file.

    Attributes:
        file: its name where it is published.
        sha256: the first digits of its sha256 (as its name carries them).
        origin: the page that offers it.
    """

    file: str
    sha256: str
    origin: str

    def describe(self) -> str:
        """Name, hash and origin in one line."""
        return f"{self.file} (sha256 {self.sha256}..., from {self.origin})"


KNOWN: dict[WeightsName, KnownWeights] = {
    "inception": KnownWeights(
        "pt_inception-2015-12-05-6726825d.pth",
        "6726825d",
        "https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights",
    ),
    "vgg16": KnownWeights("vgg16-397923af.pth", "397923af", "https://download.pytorch.org/models/"),
    "alexnet": KnownWeights("alexnet-owt-7be5be79.pth", "7be5be79", "https://download.pytorch.org/models/"),
}


class WeightsConfig(Config):
    """Where the weights of metrics lie: a folder of files under their published names, or file by file."""

    folder: Path | None = None
    inception: Path | None = None
    vgg16: Path | None = None
    alexnet: Path | None = None


@dataclass(frozen=True, slots=True)
class WeightsRecord:
    """A weight file that was read.

    Attributes:
        name: what it stands for, for example ``inception``.
        file: its name on this machine.
        sha256: of its bytes.
        verified: whether that is the hash of the published file.
    """

    name: str
    file: str
    sha256: str
    verified: bool


def missing(name: WeightsName) -> NotComputedError:
    """The error for a file that is not there."""
    return NotComputedError(
        KNOWN[name].describe(),
        f"into a folder given as weights.folder=FOLDER, or give the file as weights.{name}=FILE",
    )


def find(name: WeightsName, config: WeightsConfig) -> Path:
    """The file to read.

    Raises:
        NotComputedError: if no path was given for it, or the folder does not hold it.
        ValueError: if a path was given and nothing is there.
    """
    given: Path | None = getattr(config, name)
    if given is not None:
        if not given.is_file():
            raise ValueError(f"weights.{name}={given}: no such file")
        return given
    if config.folder is not None:
        if not config.folder.is_dir():
            raise ValueError(f"weights.folder={config.folder}: no such folder")
        published = config.folder / KNOWN[name].file
        for path in (published, published.with_suffix(".safetensors")):
            if path.is_file():
                return path
    raise missing(name)


def load(name: WeightsName, config: WeightsConfig) -> tuple[dict[str, Tensor], WeightsRecord]:
    """Read a weight file into tensors on the CPU, and say what was read.

    ``.safetensors`` is read without pickle; anything else with torch's restricted unpickler, because this is
    how the published files are made. Only a file that the user named is ever opened.

    Raises:
        NotComputedError: see ``find``.
        ValueError: if the file is not a flat table of dense tensors.
    """
    path = find(name, config)
    if path.suffix == ".safetensors":
        return load_file(path), record(name, path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a table of tensors")
    for key, value in content.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ValueError(f"{path}: {key!r} is not a dense tensor")
    return content, record(name, path)


def record(name: WeightsName, path: Path) -> WeightsRecord:
    """Hash a file and compare it with the published one."""
    digest = sha256_of(path)
    return WeightsRecord(name, path.name, digest, digest.startswith(KNOWN[name].sha256))
