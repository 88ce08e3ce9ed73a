"""Speed, parameters and memory of video tokenizers in one table, at one size and length.

``python -m eval.throughput_video tokenizers=[SOURCE,...] frames=17 resolution=256``. A source is anything that
``tokenizer.load`` takes, ``random:PRESET`` (full size without a checkpoint), or ``diffusers:CLASS``, one of their video
classes with its default settings and random weights. With ``against=diffusers`` sources that are such classes are also
measured as diffusers runs them: the same weights, the module's own ``encode`` and ``decode``. All take turns call by
call, so a machine that slows down slows all.

Letters: T frames, R resolution.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eval import machine
from eval.contenders import RANDOM, random_autoencoder
from eval.errors import EvaluationError
from eval.report import write_text
from eval.throughput import DTYPES
from eval.timing import quantile, take_turns
from eval.video.memory import MIB, LiveTensors
from tokenizer.adapters.diffusers import from_diffusers
from tokenizer.adapters.diffusers.video import FAMILIES
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.loading import load
from tokenizer.model import Autoencoder
from tokenizer.spec import Latent

PRESETS = Path(__file__).parent / "configs" / "throughput_video"
THEIRS = "diffusers:"
# Whose ``encode`` and ``decode`` take a clip as it is; VidTok's are only called by its ``forward``, which pads.
COMPARED = ("AutoencoderKLCogVideoX", "AutoencoderKLLTXVideo", "AutoencoderKLWan")
Operation = Literal["encode", "decode"]


class ThroughputVideoConfig(Config):
    """Frames/s, parameters and peak memory of video tokenizers at one size and length."""

    tokenizers: tuple[str, ...] = Field(
        min_length=1, description="each any tokenizer source, random:PRESET or diffusers:CLASS"
    )
    against: Literal["diffusers"] | None = Field(
        default=None, description="also their own pass, where the source is one of their video classes"
    )
    frames: int = Field(default=17, ge=1)
    resolution: int = Field(default=256, ge=16)
    batch_size: int = Field(default=1, ge=1)
    dtype: Literal["float32", "bfloat16"] = "float32"
    repeats: int = Field(default=5, ge=2, description="timed calls of each")
    warmup: int = Field(default=1, ge=1)
    seed: int = 0
    device: str = "auto"
    out: Path | None = Field(default=None, description="folder for throughput_video.json")


class VideoSpeed(Config):
    """One network."""

    source: str
    network: Literal["ours", "diffusers"]
    latent: str = Field(description="f, t and c: its factors and channels")
    num_parameters: int
    encode_frames_per_s: float = Field(description="of the median call")
    decode_frames_per_s: float
    encode_ms: float
    decode_ms: float
    encode_peak_mib: float = Field(
        description="beyond the weights: of the allocator on a GPU, else tensors alive"
    )
    decode_peak_mib: float
    max_abs_difference: float | None = Field(
        default=None, description="of x_hat, clamped, to that of diffusers for the same latent"
    )


class ThroughputVideoReport(Config):
    """``throughput_video.json``."""

    format: Literal[1] = 1
    job: Literal["throughput_video"] = "throughput_video"
    frames: int
    resolution: int
    batch_size: int
    dtype: str
    repeats: int
    rows: tuple[VideoSpeed, ...]
    machine: machine.Machine
    commit: str | None

    def summary(self) -> str:
        """A table for the terminal."""
        lines = [
            f"{self.frames} frames of {self.resolution}x{self.resolution}, batch {self.batch_size}, {self.dtype}, "
            f"{self.machine.device}, {self.machine.threads} threads, torch {self.machine.torch}",
            f"{'source':34s} {'network':10s} {'latent':10s} {'params M':>9s} {'enc fr/s':>9s} {'dec fr/s':>9s} "
            f"{'enc MiB':>9s} {'dec MiB':>9s}",
        ]
        for row in self.rows:
            lines.append(
                f"{row.source[-34:]:34s} {row.network:10s} {row.latent:10s} {row.num_parameters / 1e6:9.1f} "
                f"{row.encode_frames_per_s:9.2f} {row.decode_frames_per_s:9.2f} {row.encode_peak_mib:9.0f} "
                f"{row.decode_peak_mib:9.0f}"
            )
            if row.max_abs_difference is not None:
                lines.append(
                    f"{'':34s} x_hat differs from diffusers' by at most {row.max_abs_difference:.2e}"
                )
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Side:
    """A network and its two calls, ready."""

    source: str
    network: Literal["ours", "diffusers"]
    latent: str
    num_parameters: int
    calls: Mapping[Operation, Callable[[], Tensor]]


def run(config: ThroughputVideoConfig) -> ThroughputVideoReport:
    """Measure.

    Raises:
        EvaluationError: if a source does not load, or ``against`` fits none.
    """
    try:
        device = machine.pick_device(config.device)
        sides = [side for source in config.tokenizers for side in _sides(source, config, device)]
        if config.against and not any(side.network == config.against for side in sides):
            raise ValueError(f"against={config.against}: none of the sources is one of {', '.join(COMPARED)}")
        report = _measure(config, sides, device)
        if config.out is not None:
            config.out.mkdir(parents=True, exist_ok=True)
            text = json.dumps(report.model_dump(mode="json"), indent=1, allow_nan=False)
            write_text(config.out / "throughput_video.json", text + "\n")
    except (ValueError, OSError) as error:
        raise EvaluationError(str(error)) from error
    return report


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(ThroughputVideoConfig, "eval.throughput_video", PRESETS, argv)
    with refusals("eval.throughput_video"):
        report = run(config)
    sys.stdout.write(report.summary())


def _sides(source: str, config: ThroughputVideoConfig, device: torch.device) -> list[Side]:
    """Ours, and theirs if asked for and there is one."""
    theirs: nn.Module | None = None
    if source.startswith(THEIRS):
        theirs = _random_module(source.removeprefix(THEIRS), config.seed)
        ours = from_diffusers(theirs)
    elif source.startswith(RANDOM):
        ours = random_autoencoder(source, config.seed)
    else:
        ours = load(source)
        theirs = _module_of(source)
    if ours.spec.time == "none":
        raise ValueError(f"{source} is a tokenizer of pictures: measure it with eval.throughput")
    if not ours.spec.has_statistics:
        ours.spec = ours.spec.from_convention(1.0)
    dtype = DTYPES[config.dtype]
    nn.Module.to(ours, device=device, dtype=dtype).requires_grad_(False)
    size = (config.frames, config.resolution, config.resolution)
    generator = torch.Generator().manual_seed(config.seed)
    x = torch.rand((config.batch_size, 3, *size), generator=generator) * 2 - 1
    x = x.to(device, dtype)
    with torch.inference_mode():
        latent = ours.encode(x)
    part = ours.spec.z
    described = f"f{part.spatial_factor}t{part.temporal_factor}c{part.channels}"
    count = sum(parameter.numel() for parameter in ours.parameters())
    found = [Side(source, "ours", described, count, _our_calls(ours, x, latent))]
    if config.against is not None and type(theirs).__name__ in COMPARED and theirs is not None:
        nn.Module.to(theirs, device=device, dtype=dtype)
        theirs.eval().requires_grad_(False)
        raw = ours.spec.denormalize(latent.z)
        found.append(Side(source, "diffusers", described, count, _their_calls(theirs, x, raw)))
    return found


def _our_calls(ours: Autoencoder, x: Tensor, latent: Latent) -> dict[Operation, Callable[[], Tensor]]:
    return {"encode": lambda: ours.encode(x).z, "decode": lambda: ours.decode(latent)}


def _their_calls(theirs: Any, x: Tensor, z: Tensor) -> dict[Operation, Callable[[], Tensor]]:
    """What their pipelines call; diffusers publishes no types."""

    def decode() -> Tensor:
        found = theirs.decode(z)
        made: Tensor = found if isinstance(found, Tensor) else found.sample
        return made

    def encode() -> Tensor:
        found = theirs.encode(x)
        encoded: Tensor = found[0] if isinstance(found, tuple) else found.latent_dist.mode()
        return encoded

    return {"encode": encode, "decode": decode}


def _measure(
    config: ThroughputVideoConfig, sides: Sequence[Side], device: torch.device
) -> ThroughputVideoReport:
    median: dict[Operation, list[float]] = {}
    peaks: dict[Operation, list[float]] = {}
    operations: tuple[Operation, ...] = ("encode", "decode")
    for operation in operations:
        calls = [side.calls[operation] for side in sides]
        durations = take_turns(calls, config.repeats, config.warmup, device)
        median[operation] = [quantile([duration.seconds for duration in times], 0.5) for times in durations]
        peaks[operation] = [_peak_mib(call, device) for call in calls]
    total = config.frames * config.batch_size
    rows = [
        VideoSpeed(
            source=side.source,
            network=side.network,
            latent=side.latent,
            num_parameters=side.num_parameters,
            encode_frames_per_s=total / median["encode"][place],
            decode_frames_per_s=total / median["decode"][place],
            encode_ms=1e3 * median["encode"][place],
            decode_ms=1e3 * median["decode"][place],
            encode_peak_mib=peaks["encode"][place],
            decode_peak_mib=peaks["decode"][place],
            max_abs_difference=_difference(sides, place),
        )
        for place, side in enumerate(sides)
    ]
    return ThroughputVideoReport(
        frames=config.frames,
        resolution=config.resolution,
        batch_size=config.batch_size,
        dtype=config.dtype,
        repeats=config.repeats,
        rows=tuple(rows),
        machine=machine.describe(device),
        commit=machine.commit(),
    )


@torch.inference_mode()
def _peak_mib(call: Callable[[], Tensor], device: torch.device) -> float:
    if device.type == "cuda":
        machine.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        machine.synchronize(device)
        peak: int = torch.cuda.max_memory_allocated(device)
        return (peak - before) / MIB
    with LiveTensors() as live:
        call()
    held: int = live.peak
    return held / MIB


@torch.inference_mode()
def _difference(sides: Sequence[Side], place: int) -> float | None:
    """Of ours to theirs, which stands behind it where it was asked for."""
    if place + 1 == len(sides) or sides[place + 1].network != "diffusers":
        return None
    ours, theirs = (side.calls["decode"]().float().clamp(-1, 1) for side in sides[place : place + 2])
    frames = min(ours.shape[2], theirs.shape[2])
    return float((ours[:, :, :frames] - theirs[:, :, :frames]).abs().max())


def _random_module(name: str, seed: int) -> nn.Module:
    """One of their classes with its defaults.

    Raises:
        ValueError: if it is none of their video classes that are known here.
    """
    if name not in FAMILIES:
        raise ValueError(f"{THEIRS}{name}: there are {', '.join(FAMILIES)}")
    import diffusers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = getattr(diffusers, name)()
    return module.eval()


def _module_of(source: str) -> nn.Module | None:
    """Their module for a folder of one of their video classes, None for another source."""
    file = Path(source) / "config.json"
    name = str(json.loads(file.read_text()).get("_class_name")) if file.is_file() else ""
    if name not in FAMILIES:
        return None
    import diffusers

    module: nn.Module = getattr(diffusers, name).from_pretrained(source, low_cpu_mem_usage=False)
    return module


if __name__ == "__main__":
    main()
