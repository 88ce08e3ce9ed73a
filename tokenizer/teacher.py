"""Train a small vision transformer to tell the classes of pictures: a frozen encoder to align tokenizers to.

``python -m tokenizer.teacher data.path=PICTURES out=FOLDER`` writes ``config.json`` and ``model.safetensors``; a
regularizer or backbone then takes ``frozen: {library: ours, folder: FOLDER}``. Classes are the folders of the first
level, or those that shards name. It stands in for an encoder trained on much, so that alignment can be measured where
none can be downloaded; what it knows is the pictures' classes and no more.
"""

import logging
import sys
import time
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core import checkpoint, seeding
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.core.optim import OptimConfig, set_lr
from tokenizer.data.images import Images, Positions, TrainingOrder, loader
from tokenizer.data.transforms import to_pixels
from tokenizer.layers.plain_vit import PlainViT, PlainViTSize

logger = logging.getLogger(__name__)


class TeacherData(Config):
    """Pictures in classes."""

    path: Path = Field(description="folder of pictures, a folder a class; or .tar shards with classes")
    validation: Path | None = Field(
        default=None, description="held-out pictures in the same classes, to tell"
    )
    resolution: int = Field(default=64, ge=8, description="side of the crops in pixels")
    max_scale: float = Field(
        default=1.25, ge=1, description="short side is resized to at most this many crops"
    )
    num_workers: int = Field(default=1, ge=0)


class TeacherConfig(Config):
    """Train a small vision transformer to tell classes."""

    data: TeacherData
    out: Path = Field(description="folder to write; one that exists is replaced")
    size: PlainViTSize = PlainViTSize()
    images: int = Field(default=48_000, ge=1, description="to train on")
    batch: int = Field(default=32, ge=1)
    optim: OptimConfig = OptimConfig(
        lr=1e-3, weight_decay=0.05, warmup_images=1600, schedule="cosine", final_ratio=0.02
    )
    smoothing: float = Field(default=0.1, ge=0, lt=1, description="of the labels")
    seed: int = 0
    device: str = "cuda" if torch.cuda.is_available() else "cpu"


def train_teacher(config: TeacherConfig) -> Path:
    """Train and write it; returns the folder.

    Raises:
        ValueError: if the pictures are of one class only, or the held-out ones of others.
    """
    images = Images(config.data.path, config.data.resolution)
    names = images.source.class_names
    if len(names) < 2:
        raise ValueError(
            f"{config.data.path} has {len(names)} class: a teacher tells classes, so put pictures into folders by class"
        )
    torch.manual_seed(seeding.key(config.seed, "teacher"))
    network = config.size.build(len(names)).to(config.device)
    optimizer = config.optim.build(network)
    order = TrainingOrder(images, config.seed, config.data.max_scale)
    positions = Positions(0, config.images, config.batch)
    correct, began = 0.0, time.perf_counter()
    for step, batch in enumerate(loader(order, positions, config.data.num_workers), start=1):
        x, y = to_pixels(batch["data"]).to(config.device), batch["label"].to(config.device)
        set_lr(optimizer, config.optim.lr_at((step - 1) * config.batch, config.images, config.batch))
        logits = network(x)
        loss = F.cross_entropy(logits, y, label_smoothing=config.smoothing)
        torch.autograd.backward(loss)
        if config.optim.max_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), config.optim.max_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        correct += 0.02 * (float((logits.argmax(dim=1) == y).float().mean()) - correct)
        if step % 50 == 0:
            rate = step * config.batch / (time.perf_counter() - began)
            logger.info("%d images, %.0f a second, %.3f of the last told", step * config.batch, rate, correct)
    told = None if config.data.validation is None else accuracy(network, config, names)
    tree = {
        "format": 1,
        "kind": "teacher",
        "size": config.size.model_dump(mode="json"),
        "num_classes": len(names),
        "class_names": names,
        "validation_accuracy": told,
        "settings": config.model_dump(mode="json"),
    }
    checkpoint.save_folder(config.out, tree, {"model": network.state_dict()})
    if told is not None:
        logger.info("%.3f of the held-out pictures are told", told)
    return config.out


@torch.no_grad()
def accuracy(network: PlainViT, config: TeacherConfig, names: list[str]) -> float:
    """Share of the held-out pictures whose class is told.

    Raises:
        ValueError: if their classes are others.
    """
    assert config.data.validation is not None
    images = Images(config.data.validation, config.data.resolution)
    if images.source.class_names != names:
        raise ValueError(
            f"the classes under data.validation are {', '.join(images.source.class_names)}, not {', '.join(names)}"
        )
    network.eval()
    right: list[Tensor] = []
    for batch in torch.utils.data.DataLoader(images, batch_size=config.batch):
        logits = network(to_pixels(batch["data"]).to(config.device))
        right.append((logits.argmax(dim=1).cpu() == batch["label"]).float())
    return float(torch.cat(right).mean())


def main() -> None:
    """The command line."""
    config = from_cli(TeacherConfig, "tokenizer.teacher")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with refusals("tokenizer.teacher"):
        folder = train_teacher(config)
    sys.stdout.write(f"written: {folder}\n")


if __name__ == "__main__":
    main()
