"""Make tar shards of a folder of pictures.

``python -m tokenizer.data.pack path=PICTURES out=FOLDER``: pictures go in unchanged, byte for byte, in the order in
which the folder is read, so training on the shards sees what training on the folder sees, in the same order. Class
folders become ``.cls`` members and their names ``classes.json``. Equal pictures give equal shards.
"""

import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field
from tqdm import tqdm

from tokenizer.core import checkpoint
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.data.folder import Folder
from tokenizer.data.shards import CLASSES, Shards


class PackConfig(Config):
    """Make tar shards (WebDataset) of a folder of pictures."""

    path: Path = Field(
        description="folder of pictures, searched below; the first level of folders is the class"
    )
    out: Path = Field(description="folder for the shards; appears when all are written")
    shard_images: int = Field(default=1000, ge=1, description="pictures in every shard but perhaps the last")


def pack(config: PackConfig) -> Shards:
    """Write the shards and open them, which writes their indices too.

    Raises:
        ValueError: if there are no pictures, or ``out`` exists already.
    """
    folder = Folder(config.path)
    if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise ValueError(f"out={config.out} exists already: give another folder, or remove it")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = config.out.with_name(f".{config.out.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        keys = unique_keys([folder[index].name for index in range(len(folder))])
        with tqdm(total=len(folder), desc="packing", unit="img") as bar:
            for number, first in enumerate(range(0, len(folder), config.shard_images)):
                shard = temporary / f"shard-{number:06d}.tar"
                rows = range(first, min(first + config.shard_images, len(folder)))
                with tarfile.open(shard, "w", format=tarfile.PAX_FORMAT) as tar:
                    for index in rows:
                        for name, content in members(folder, index, keys[index]):
                            tar.addfile(header(name, len(content)), io.BytesIO(content))
                checkpoint.flush(shard)
                bar.update(len(rows))
        if folder.class_names != [""]:
            (temporary / CLASSES).write_text(
                json.dumps(folder.class_names, ensure_ascii=False, indent=0) + "\n"
            )
            checkpoint.flush(temporary / CLASSES)
        os.replace(temporary, config.out)
        checkpoint.flush(config.out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # what is left of a failure
    return Shards(sorted(config.out.glob("*.tar")))


def members(folder: Folder, index: int, key: str) -> Iterator[tuple[str, bytes]]:
    """The files of one sample, name and content: the picture, and its class where there are classes."""
    picture = folder[index]
    yield f"{key}{picture.path.suffix.lower()}", picture.read()
    if folder.class_names != [""]:
        yield f"{key}.cls", str(folder.label(index)).encode()


def unique_keys(names: list[str]) -> list[str]:
    """A key for each path: without its suffix, dots of the last component as ``_``, and ``_`` after it until unique."""
    taken: set[str] = set()
    keys = []
    for name in names:
        parent, slash, last = name.rpartition("/")
        key = f"{parent}{slash}{last.rpartition('.')[0].replace('.', '_')}"
        while key in taken:
            key += "_"
        taken.add(key)
        keys.append(key)
    return keys


def header(name: str, num_bytes: int) -> tarfile.TarInfo:
    """The header of a member: nothing in it tells when, where or by whom it was written."""
    info = tarfile.TarInfo(name)
    info.size = num_bytes
    info.mode = 0o644
    return info


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    config = from_cli(PackConfig, "tokenizer.data.pack", argv=argv)
    with refusals("tokenizer.data.pack"):
        shards = pack(config)
    sys.stdout.write(
        f"{config.out}: {len(shards)} pictures of {len(shards.class_names)} classes in {len(shards.shards)} shards\n"
    )


if __name__ == "__main__":
    main()
