"""The cached data set: pictures encoded once, kept as safetensors shards, read back as a data set.

``python -m diffusion.latents tokenizer=SOURCE data.path=PICTURES data.resolution=256 out=FOLDER``

A folder of latents holds ``latents.json`` (what it is, written first) and ``shard-00000.safetensors`` ... (z
and label, written whole or not at all, with a digest of its content). The same command goes on where it was
interrupted: finished shards are verified and kept. The folder belongs to one latent space (spec_id).
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from pydantic import Field
from safetensors import safe_open
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from diffusion.backbones import LatentShape
from tokenizer.core import seeding
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.core.parts import Parts, spans, write_whole
from tokenizer.data.images import Images, Sample
from tokenizer.data.source import fingerprint, read_or_next
from tokenizer.data.transforms import to_pixels
from tokenizer.loading import load
from tokenizer.model import Tokenizer

INFO = "latents.json"
Dtype = Literal["float32", "bfloat16", "float16"]


class LatentsData(Config):
    """Pictures to encode: a folder of classes, each a folder of pictures; or .tar shards."""

    path: Path = Field(description="folder of pictures, or .tar shards")
    resolution: int = Field(ge=8, description="side of the centre crop in pixels")
    num_workers: int = Field(default=2, ge=0, description="processes that decode pictures")


class LatentsConfig(Config):
    """Encode a folder of pictures once, so that a generator trains on latents."""

    tokenizer: str = Field(
        description="folder, hf:org/name or bundled name; it must know its latent statistics"
    )
    data: LatentsData
    out: Path
    flip: bool = Field(default=False, description="a mirrored copy of every picture as well")
    batch: int = Field(default=16, ge=1, description="pictures encoded together")
    shard_images: int = Field(default=1024, ge=1, description="pictures in a shard")
    storage: Dtype = Field(default="float32", description="of the latents")
    dtype: Dtype = Field(default="float32", description="of the tokenizer")
    device: str = "cuda" if torch.cuda.is_available() else "cpu"


class LatentsInfo(Config):
    """What a folder of latents holds (``latents.json``).

    Attributes:
        spec_id: the latent space.
        latent_shape: (C, H', W') of one latent, normalised; (C, N) where it is a row of tokens.
        size: (H, W) of the pictures in pixels.
        class_names: label i is class_names[i].
        num_images: pictures encoded.
        copies: latents of each picture; 2 with mirrored ones, which follow theirs.
        shard_images: pictures in every shard but perhaps the last.
        storage: dtype of z in the shards.
        dtype: dtype that the tokenizer computed in.
        pictures: sha256 over names and sizes of the pictures' files.
    """

    format: Literal[1] = 1
    kind: Literal["latents"] = "latents"
    spec_id: str
    latent_shape: LatentShape
    size: tuple[int, int]
    class_names: tuple[str, ...]
    num_images: int
    copies: Literal[1, 2]
    shard_images: int
    storage: Dtype
    dtype: Dtype
    pictures: str

    @property
    def shards(self) -> list[range]:
        """Numbers of the pictures in every shard of the finished folder."""
        return spans(self.num_images, self.shard_images)

    @classmethod
    def read(cls, path: Path) -> "LatentsInfo":
        """Read ``latents.json``; ValueError if there is none."""
        if not (path / INFO).is_file():
            raise ValueError(
                f"{path} is no folder of latents: it has no {INFO}; make one with diffusion.latents"
            )
        return cls.parse(json.loads((path / INFO).read_text()))


class LatentFolder(Dataset[tuple[Tensor, Tensor]]):
    """A finished folder of latents: item i is (z (C, H', W') or (C, N) float32, label () int64).

    Args:
        path: as written by ``encode_folder``.

    Raises:
        ValueError: if the folder is not one of latents or not finished.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = LatentsInfo.read(path)
        self._shards = shards_of(path, self.info)
        count = len(self.info.shards)
        missing = [index for index in range(count) if not self._shards.path(index).is_file()]
        if missing:
            raise ValueError(
                f"{path} is not finished ({count - len(missing)} of {count} shards): run its command again"
            )
        self._open: dict[int, tuple[Any, Tensor]] = {}  # safetensors' slice has no published type

    def __len__(self) -> int:
        return self.info.num_images * self.info.copies

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"latent {index} of {len(self)}")
        shard, row = divmod(index, self.info.shard_images * self.info.copies)
        if shard not in self._open:
            with safe_open(self._shards.path(shard), framework="pt") as file:
                self._open[shard] = (file.get_slice("z"), file.get_tensor("label"))
        z, label = self._open[shard]
        return z[row : row + 1][0].float(), label[row]


class LatentSample(TypedDict):
    """One latent, or a batch of them: z (B, C, H', W') float32, label and key (B,) int64."""

    z: Tensor
    label: Tensor
    key: Tensor


class LatentOrder(Dataset[LatentSample]):
    """A ``LatentFolder`` seen as an endless sequence: item p is what training position p sees.

    Epoch, latent and key are functions of (seed, p) alone, so nothing depends on processes or interruptions.

    Args:
        folder: the latents.
        seed: names the order and the keys.
    """

    def __init__(self, folder: LatentFolder, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, position: int) -> LatentSample:
        epoch, place = divmod(position, len(self.folder))
        if self._order[0] != epoch:
            order = torch.randperm(len(self.folder), generator=seeding.generator(self.seed, "order", epoch))
            self._order = (epoch, order.tolist())
        index = self._order[1][place]
        z, label = self.folder[index]
        return LatentSample(
            z=z, label=label, key=torch.tensor(seeding.key(self.seed, "sample", epoch, index))
        )


def shards_of(folder: Path, info: LatentsInfo) -> Parts:
    """The files of a folder: z (N, C, H', W') and label (N,) of a run of pictures each."""
    return Parts(folder, {"spec_id": info.spec_id})


def encode_folder(tokenizer: Tokenizer, config: LatentsConfig) -> LatentsInfo:
    """Encode what ``config`` names into its ``out``; finished shards are verified and kept.

    Args:
        tokenizer: on the device of the config, in its dtype.
        config: pictures and output.

    Raises:
        ValueError: if the folder holds latents of another tokenizer or of other pictures, naming both.
    """
    images = Images(config.data.path, config.data.resolution)
    info = describe(tokenizer, images, config)
    config.out.mkdir(parents=True, exist_ok=True)
    if (config.out / INFO).is_file():
        refuse_other(config.out, LatentsInfo.read(config.out), info)
    else:
        write_whole(config.out / INFO, lambda file: file.write_text(info.model_dump_json(indent=1) + "\n"))
    shards = shards_of(config.out, info)
    todo = shards.missing(len(info.shards))
    done = info.num_images - sum(len(info.shards[index]) for index in todo)
    with tqdm(total=info.num_images, initial=done, desc="encoding", unit="img") as bar:
        for index in todo:
            shards.save(index, _encode_shard(tokenizer, images, info.shards[index], info, config, bar))
    return info


def describe(tokenizer: Tokenizer, images: Images, config: LatentsConfig) -> LatentsInfo:
    """What the finished folder will be.

    Raises:
        ValueError: if the tokenizer was never saved or measured, or its latent is not one part, a grid or a row.
    """
    if not tokenizer.spec_id:
        raise ValueError("this tokenizer has no spec_id: save it as a model folder first")
    if not tokenizer.spec.has_statistics:
        raise ValueError(
            "this tokenizer has no latent statistics yet: measure them with "
            "`python -m tokenizer.stats source=FOLDER data.path=PICTURES`"
        )
    part = tokenizer.spec.z
    size = (config.data.resolution, config.data.resolution)
    shape = tokenizer.spec.shape(size)[part.name]
    if part.layout == "3d":
        raise ValueError("generators here take latents of pictures (1d, 2d), this tokenizer's are 3d")
    return LatentsInfo(
        spec_id=tokenizer.spec_id,
        latent_shape=(shape[0], shape[1]) if part.layout == "1d" else (shape[0], shape[1], shape[2]),
        size=size,
        class_names=tuple(images.source.class_names),
        num_images=len(images),
        copies=2 if config.flip else 1,
        shard_images=config.shard_images,
        storage=config.storage,
        dtype=config.dtype,
        pictures=fingerprint(images.source[index] for index in range(len(images))),
    )


def refuse_other(folder: Path, found: LatentsInfo, wanted: LatentsInfo) -> None:
    """ValueError if a folder begun as ``found`` cannot go on as ``wanted``, naming both."""
    if found.spec_id != wanted.spec_id:
        raise ValueError(
            f"{folder} holds latents of spec {found.spec_id}, this tokenizer is {wanted.spec_id}: "
            "give another out=FOLDER"
        )
    before, now = found.model_dump(), wanted.model_dump()
    for name in before:
        if before[name] != now[name]:
            raise ValueError(
                f"{folder} holds latents with {name}={before[name]}, this command makes {now[name]}: "
                "give another out=FOLDER"
            )


@torch.no_grad()
def _encode_shard(
    tokenizer: Tokenizer,
    images: Images,
    numbers: Iterable[int],
    info: LatentsInfo,
    config: LatentsConfig,
    bar: "tqdm[Any]",
) -> dict[str, Tensor]:
    """Batches never cross shards, so a shard does not depend on where an earlier run stopped."""
    latents, labels = [], []
    for sample in _batches(images, list(numbers), config):
        x = to_pixels(sample["data"].to(config.device)).to(getattr(torch, config.dtype))
        views = [tokenizer.encode(x).z]
        if info.copies == 2:
            views.append(tokenizer.encode(x.flip(-1)).z)
        z = torch.stack(views, dim=1).flatten(0, 1)  # B*copies C H' W', a mirrored one after its picture
        latents.append(z.to("cpu", getattr(torch, config.storage)))
        labels.append(sample["label"].repeat_interleave(info.copies))
        bar.update(len(x))
    z = torch.cat(latents)
    if not torch.isfinite(z).all():
        raise ValueError(f"the latents are not finite in {config.dtype}: try dtype=float32")
    return {"z": z.contiguous(), "label": torch.cat(labels)}


def _batches(images: Images, numbers: list[int], config: LatentsConfig) -> Iterator[Sample]:
    rounds = [numbers[first : first + config.batch] for first in range(0, len(numbers), config.batch)]
    yield from DataLoader(_Readable(images), batch_sampler=rounds, num_workers=config.data.num_workers)


class _Readable(Dataset[Sample]):
    """``Images`` in which a picture that cannot be read is replaced by the next that can, and named."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return self.images.sample(*read_or_next(self.images.source, index))


def main(argv: list[str] | None = None) -> None:
    """The command; a refusal is one line and exit status 2."""
    config = from_cli(LatentsConfig, "diffusion.latents", Path(__file__).parent / "configs" / "latents", argv)
    with refusals("diffusion.latents"):
        tokenizer = load(config.tokenizer, device=config.device, dtype=getattr(torch, config.dtype))
        info = encode_folder(tokenizer, config)
    count = info.num_images * info.copies
    sys.stdout.write(f"{config.out}: {count} latents {info.latent_shape} of spec {info.spec_id}\n")


if __name__ == "__main__":
    main()
