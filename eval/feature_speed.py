"""How fast Inception's features come, beside pytorch-fid's own program, in one run and with equal features.

``python -m eval.feature_speed [images=64] [side=256] [batch_size=50] [repeats=3] [threads=N]``: PNGs are made in a
temporary folder; pytorch-fid's ``get_activations`` with its own network and loader, and ours, over the same random
weights and the same resize, read and pass them in turn; the median counts. Where pytorch-fid is missing, ours alone.
"""

import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from eval import machine
from eval.features import FIDInception, InceptionFeatures
from eval.weights import WeightsRecord
from tokenizer.core.config import Config, from_cli, refusals

ALIKE = 1e-5


class FeatureSpeedConfig(Config):
    """Time feature extraction against pytorch-fid."""

    images: int = Field(default=64, ge=1)
    side: int = Field(default=256, ge=16, description="of the pictures")
    batch_size: int = Field(default=50, ge=1, description="50 is pytorch-fid's own")
    workers: int = Field(default=2, ge=0, description="that read pictures: processes there, threads here")
    repeats: int = Field(default=3, ge=1)
    threads: int | None = Field(default=None, ge=1, description="of torch")
    device: str = Field(default="cpu", description="cpu or cuda")
    seed: int = 0


@dataclass(frozen=True, slots=True)
class FeatureTiming:
    """One way of extracting features.

    Attributes:
        images_per_s: by the median of the repeats.
        network_images_per_s: of the network alone, pictures in memory; the same for both in one batch.
        features: (N, 2048), the last ones made.
    """

    images_per_s: float
    network_images_per_s: float
    features: Tensor


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(FeatureSpeedConfig, "eval.feature_speed", None, argv)
    with refusals("eval.feature_speed"):
        sys.stdout.write(table(config, measure(config)))


def measure(config: FeatureSpeedConfig) -> dict[str, FeatureTiming]:
    """Timings by way: ``ours``, and ``pytorch-fid`` where it is installed."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = torch.device(config.device)
    # the very pictures are read twice, from the page cache, so that neither way pays for the disk
    with tempfile.TemporaryDirectory() as folder:
        files = write_pictures(Path(folder), config.images, config.side, config.seed)
        ways = {"ours": _ours(config, device, files)}
        if importlib.util.find_spec("pytorch_fid") is not None:
            ways["pytorch-fid"] = _theirs(config, device, files)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        alone: dict[str, list[float]] = {name: [] for name in ways}
        made: dict[str, Tensor] = {}
        for _ in range(config.repeats):
            for name, (whole, inner) in ways.items():  # in turn, so that a busy machine is busy for both
                start = time.perf_counter()
                made[name] = whole()
                middle = time.perf_counter()
                inner()
                seconds[name].append(middle - start)
                alone[name].append(time.perf_counter() - middle)
    batch = min(config.batch_size, config.images)
    return {
        name: FeatureTiming(
            config.images / statistics.median(seconds[name]),
            batch / statistics.median(alone[name]),
            made[name],
        )
        for name in ways
    }


Way = tuple[Callable[[], Tensor], Callable[[], object]]


def _ours(config: FeatureSpeedConfig, device: torch.device, files: Sequence[Path]) -> Way:
    none = WeightsRecord("inception", "random", "", verified=False)
    features = InceptionFeatures(random_inception(config.seed), none, device, "pytorch_bilinear_299")

    def whole() -> Tensor:
        rows = []
        with ThreadPoolExecutor(max(1, config.workers)) as pool:
            pictures = pool.map(_read, files)
            batch: list[Tensor] = []
            for picture in pictures:
                batch.append(picture)
                if len(batch) == config.batch_size:
                    rows.append(features(torch.stack(batch)))
                    batch = []
            if batch:
                rows.append(features(torch.stack(batch)))
        return torch.cat(rows)

    held = torch.stack([_read(path) for path in files[: config.batch_size]])
    return whole, lambda: features(held.clone())


def _theirs(config: FeatureSpeedConfig, device: torch.device, files: Sequence[Path]) -> Way:
    from pytorch_fid import fid_score, inception

    tensors = random_inception(config.seed).state_dict()
    own = inception.load_state_dict_from_url
    inception.load_state_dict_from_url = lambda *_, **__: tensors  # its only way to weights is a download
    try:
        model = inception.InceptionV3().to(device).eval()
    finally:
        inception.load_state_dict_from_url = own
    bar = fid_score.tqdm

    def whole() -> Tensor:
        fid_score.tqdm = lambda batches: batches
        try:
            made: np.ndarray = fid_score.get_activations(
                [str(path) for path in files], model, config.batch_size, 2048, device, config.workers
            )
        finally:
            fid_score.tqdm = bar
        return torch.from_numpy(made).float()

    held = torch.stack([_read(path) for path in files[: config.batch_size]]).float() / 255.0

    @torch.no_grad()
    def inner() -> object:
        return model(held.to(device))[0].cpu()

    return whole, inner


def random_inception(seed: int) -> FIDInception:
    """The network with seeded random weights of a scale at which its features say something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        network = FIDInception()
    tensors = {}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.zeros((), dtype=torch.long)
        elif name.endswith("conv.weight"):
            scale = (2.0 / value[0].numel()) ** 0.5
            tensors[name] = torch.randn(value.shape, generator=generator) * scale
        elif name.endswith(("running_var", "bn.weight")):
            tensors[name] = 0.5 + torch.rand(value.shape, generator=generator)
        else:
            tensors[name] = 0.1 * torch.randn(value.shape, generator=generator)
    network.load_state_dict(tensors, assign=True)
    return network


def write_pictures(folder: Path, count: int, side: int, seed: int) -> list[Path]:
    """Smooth pictures with some noise as PNG files."""
    draw = np.random.default_rng(seed)
    files = []
    for index in range(count):
        coarse = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), np.int16)
        noisy = (smooth + draw.integers(-8, 9, smooth.shape)).clip(0, 255).astype(np.uint8)
        files.append(folder / f"{index:05d}.png")
        Image.fromarray(noisy).save(files[-1])
    return files


def _read(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def table(config: FeatureSpeedConfig, timings: dict[str, FeatureTiming]) -> str:
    """The timings for people, ratios of ours over theirs, and how far the features are apart."""
    lines = [
        f"Inception features of {config.images} PNGs of {config.side}, batches of {config.batch_size}, median of "
        f"{config.repeats}, {torch.get_num_threads()} threads, "
        f"{machine.describe(torch.device(config.device)).processor}, torch {torch.__version__}"
    ]
    for name, timing in timings.items():
        lines.append(
            f"  {name:12s} {timing.images_per_s:8.2f} images/s   network alone {timing.network_images_per_s:8.2f}"
        )
    if "pytorch-fid" in timings:
        ours, theirs = timings["ours"], timings["pytorch-fid"]
        apart = apart_by(ours.features, theirs.features)
        verdict = "equal" if apart <= ALIKE else "NOT equal"
        lines.append(
            f"  ours over theirs: {ours.images_per_s / theirs.images_per_s:.2f}, network alone "
            f"{ours.network_images_per_s / theirs.network_images_per_s:.2f}; features {verdict}: "
            f"largest difference {apart:.1e} of the largest feature"
        )
    return "\n".join(lines) + "\n"


def apart_by(first: Tensor, second: Tensor) -> float:
    """The largest difference of two tables over the largest value of the second."""
    return float((first - second).abs().max() / second.abs().max())


if __name__ == "__main__":
    main()
