"""Weights that metrics read: which file, where it comes from, what its hash is.

``python -m eval.weights list | verify | import DIR | fetch [NAME ...]``, all with ``folder=DIR`` or the variable
TESSERA_WEIGHTS. An evaluation never downloads: it finds files through paths given by the user and hashes them at
every load. A file with another hash is used, but then the metric carries ``_unverified`` in its name: a number is
never passed off as the standard one.
"""

import os
import shutil
import sys
import tomllib
import urllib.request
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor

from eval.errors import NotComputedError
from tokenizer.core.checkpoint import sha256_of
from tokenizer.core.config import Config, refusals

WeightsName = Literal["inception", "vgg16", "alexnet", "dinov2", "clip", "face_detector", "face_recognizer"]
VARIABLE = "TESSERA_WEIGHTS"
TIMEOUT_S = 30.0
USAGE = """python -m eval.weights list | verify | import DIR | fetch [NAME ...]   [folder=DIR]

  list     the files that metrics read, with size, hash, licence and source, and which are in the folder
  verify   hash those in the folder; exits with 1 if one is not the published file
  import   find published files below DIR, by their hash, and copy them into the folder; those for which no hash
           was published by their name
  fetch    download NAME (all that can be, without one) from its source into the folder; kept only if the hash is
           right, where one was published

The folder is folder=DIR, or the variable TESSERA_WEIGHTS; evaluations find it through the same variable or
weights.folder=DIR.
"""


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """A published file.

    Attributes:
        file: its name where it is published.
        sha256: of the file, in hexadecimal; empty where nobody published one, and then no copy counts as verified.
        source: the page that offers it.
        size: in bytes; 0 where it is not stated.
        licence: of the weights.
        url: of the file itself; empty where it comes inside an archive.
        metrics: those that read it.
        also_named: other names under which the same bytes are published.
    """

    file: str
    sha256: str
    source: str
    size: int = 0
    licence: str = ""
    url: str = ""
    metrics: tuple[str, ...] = ()
    also_named: tuple[str, ...] = ()

    def describe(self) -> str:
        """Name, hash and source in one line."""
        known = f"sha256 {self.sha256[:8]}..." if self.sha256 else "no hash was published"
        return f"{self.file} ({known}, from {self.source})"

    def matches(self, digest: str) -> bool:
        """Whether a hash is that of the published file; never where nobody published one."""
        return bool(self.sha256) and digest == self.sha256


def read_manifest(text: str) -> dict[WeightsName, KnownWeights]:
    """The table of ``weights.toml``.

    Raises:
        ValueError: if its names are not those that metrics ask for.
    """
    tree = tomllib.loads(text)
    names: tuple[WeightsName, ...] = get_args(WeightsName)
    if set(tree) != set(names):
        raise ValueError(f"the manifest has {', '.join(tree)}: metrics read {', '.join(names)}")
    return {name: _known(tree[name]) for name in names}


def _known(entry: dict[str, Any]) -> KnownWeights:  # TOML
    plain = {key: tuple(item) if isinstance(item, list) else item for key, item in entry.items()}
    return KnownWeights(**plain)  # type: ignore[arg-type]  # a table of the manifest; an unknown key is a TypeError


KNOWN = read_manifest(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


class WeightsConfig(Config):
    """Where the weights of metrics lie: a folder of files under their published names, or file by file."""

    folder: Path | None = None
    inception: Path | None = None
    vgg16: Path | None = None
    alexnet: Path | None = None
    dinov2: Path | None = None
    clip: Path | None = None
    face_detector: Path | None = None
    face_recognizer: Path | None = None
    gemma: Path | None = None


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
    known = KNOWN[name]
    how = "fetch" if known.url else "import DIR"
    command = f"python -m eval.weights {how} {name + ' ' if known.url else ''}folder=FOLDER"
    return NotComputedError(
        known.describe(),
        f"into a folder given as weights.folder=FOLDER ({command}), or give the file as weights.{name}=FILE",
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
    folder = config.folder or default_folder()
    if folder is not None:
        if not folder.is_dir():
            option = "weights.folder" if config.folder else VARIABLE
            raise ValueError(f"{option}={folder}: no such folder")
        for path in _places(name, folder):
            if path.is_file():
                return path
    raise missing(name)


def default_folder() -> Path | None:
    """The folder that the environment names."""
    value = os.environ.get(VARIABLE)
    return Path(value) if value else None


def _places(name: WeightsName, folder: Path) -> list[Path]:
    known = KNOWN[name]
    published = [folder / file for file in (known.file, *known.also_named)]
    return [published[0], published[0].with_suffix(".safetensors"), *published[1:]]


def load(name: WeightsName, config: WeightsConfig) -> tuple[dict[str, Tensor], WeightsRecord]:
    """Read a weight file into tensors on the CPU, and say what was read.

    ``.safetensors`` is read without pickle; anything else with torch's restricted unpickler, because this is
    how the published files are made. An archive of TorchScript, which is a program, is opened only if its hash is
    that of the published file. Only a file that the user named is ever opened.

    Raises:
        NotComputedError: see ``find``.
        ValueError: if the file is not a flat table of dense tensors.
    """
    path = find(name, config)
    if path.suffix == ".safetensors":
        return load_file(path), record(name, path)
    if is_script(path):
        return _tensors_of_script(name, path), record(name, path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a table of tensors")
    for key, value in content.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ValueError(f"{path}: {key!r} is not a dense tensor")
    return content, record(name, path)


def is_script(path: Path) -> bool:
    """Whether a file is an archive of TorchScript."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(entry.endswith("/constants.pkl") for entry in archive.namelist())


def _tensors_of_script(name: WeightsName, path: Path) -> dict[str, Tensor]:
    if not (found := record(name, path)).verified:
        raise ValueError(
            f"{path} is TorchScript, a program, and not the published file (sha256 {found.sha256}): it is not opened"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript itself is deprecated; the file is not ours
        script = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]  # torch gives it no types
    state: dict[str, Tensor] = script.state_dict()
    return state


def record(name: WeightsName, path: Path) -> WeightsRecord:
    """Hash a file and compare it with the published one."""
    digest = sha256_of(path)
    return WeightsRecord(name, path.name, digest, KNOWN[name].matches(digest))


def table(folder: Path | None) -> str:
    """The manifest for people, and what of it lies in the folder."""
    lines = []
    for name, known in KNOWN.items():
        here = [path for path in _places(name, folder) if path.is_file()] if folder else []
        lines += [
            f"{name}: {known.file}",
            f"  {f'{known.size:,} bytes' if known.size else 'size not stated'}, "
            f"{'sha256 ' + known.sha256 if known.sha256 else 'no hash was published: no copy counts as verified'}",
            f"  for {', '.join(known.metrics)}; licence {known.licence}",
            f"  from {known.source}",
            f"  {'here: ' + str(here[0]) if here else 'not here'}",
        ]
    return "\n".join(lines) + "\n"


def verify(folder: Path) -> tuple[str, bool]:
    """Hash every file of the manifest that the folder holds: (lines for people, whether none of them is wrong)."""
    lines, right = [], True
    for name in KNOWN:
        for path in _places(name, folder):
            if path.is_file():
                found = record(name, path)
                right &= found.verified or not KNOWN[name].sha256
                verdict = "the published file" if found.verified else "NOT the published file"
                verdict = verdict if KNOWN[name].sha256 else "no hash was published to compare with"
                lines.append(f"{name}: {path.name}: {verdict} (sha256 {found.sha256})")
    return "\n".join(lines or [f"{folder} holds no file of the manifest"]) + "\n", right


def import_files(source: Path, folder: Path) -> list[str]:
    """Copy the published files below ``source`` into the folder, whatever they are called there; names of those.

    Raises:
        ValueError: if there is none.
    """
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder")
    taken: list[str] = []
    for path in sorted(source.rglob("*")):
        name = _known_as(path) if path.is_file() else None
        if name is None or name in taken:
            continue
        with path.open("rb") as stream:
            _keep(stream, name, folder)
        taken.append(name)
    if not taken:
        raise ValueError(f"{source} holds no published file (they are known by their hash, not their name)")
    return taken


def _known_as(path: Path) -> WeightsName | None:
    """Which published file this is: by size, where stated, and hash; by name where there is no hash."""
    digest = ""
    for name, known in KNOWN.items():
        if not known.sha256:
            if path.name in (known.file, *known.also_named):
                return name
        elif path.stat().st_size == known.size or (not known.size and path.suffix == Path(known.file).suffix):
            digest = digest or sha256_of(path)
            if known.matches(digest):
                return name
    return None


def fetch(names: Iterable[WeightsName], folder: Path) -> None:
    """Download files from their sources; one that does not have the published hash is not kept.

    Raises:
        ValueError: for another hash, or a file that comes inside an archive.
        OSError: if the network does not answer.
    """
    for name in names:
        if not KNOWN[name].url:
            raise ValueError(
                f"{name} comes inside an archive: take it from {KNOWN[name].source}, then import DIR"
            )
        with urllib.request.urlopen(KNOWN[name].url, timeout=TIMEOUT_S) as stream:
            _keep(stream, name, folder)


def _keep(stream: IO[bytes], name: WeightsName, folder: Path) -> None:
    """Write a stream under the published name, whole and verified or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{KNOWN[name].file}.{os.getpid()}.part"
    try:
        with temporary.open("wb") as file:
            shutil.copyfileobj(stream, file)
        if (found := record(name, temporary)).verified or not KNOWN[name].sha256:
            os.replace(temporary, folder / KNOWN[name].file)
        else:
            raise ValueError(f"{name}: what came has sha256 {found.sha256}, not {KNOWN[name].sha256}")
    finally:
        temporary.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("--help", "-h"):
        sys.stdout.write(USAGE)
        return
    with refusals("eval.weights"):
        action, *rest = arguments
        given = [item.removeprefix("folder=") for item in rest if item.startswith("folder=")]
        words = [item for item in rest if not item.startswith("folder=")]
        folder = Path(given[-1]) if given else default_folder()
        if action == "list" and not words:
            sys.stdout.write(table(folder))
            return
        if folder is None:
            raise ValueError(f"say where: folder=DIR, or the variable {VARIABLE}")
        right = _act(action, words, folder)
    raise SystemExit(0 if right else 1)


def _act(action: str, words: list[str], folder: Path) -> bool:
    match action, words:
        case "verify", []:
            text, right = verify(folder)
            sys.stdout.write(text)
            return right
        case "import", [source]:
            taken = import_files(Path(source), folder)
            sys.stdout.write(f"{', '.join(taken)} -> {folder}\n")
        case "fetch", _ if set(words) <= set(KNOWN):
            wanted = [name for name in KNOWN if name in words or (not words and KNOWN[name].url)]
            fetch(wanted, folder)
            sys.stdout.write(f"{', '.join(wanted)} -> {folder}\n")
        case "fetch", _:
            raise ValueError(f"no weights {', '.join(words)}: there are {', '.join(KNOWN)}")
        case _:
            raise ValueError(f"{action} {' '.join(words)}: use list, verify, import DIR or fetch [NAME ...]")
    return True


if __name__ == "__main__":
    main()
