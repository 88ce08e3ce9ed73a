"""How fast a tokenizer or a denoiser runs, alone or against diffusers with the same weights in the same run.

``python -m eval.throughput tokenizer=SOURCE against=diffusers``. A source may be ``random:PRESET`` (the model
of a training preset) or ``random:dit-B/2``: full size without a checkpoint. Both sides of a comparison take
turns call by call, so a machine that slows down slows both.

Letters: B batch, R resolution.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from tqdm import tqdm

from eval import machine
from eval.contenders import Contender, denoiser_contenders, tokenizer_contenders
from eval.errors import EvaluationError
from eval.report import write_text
from eval.timing import Duration, peak_memory_mib, processor_ms, quantile, take_turns
from tokenizer.core.config import Config, from_cli, refusals

PRESETS = Path(__file__).parent / "configs" / "throughput"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FORMATS = {False: torch.contiguous_format, True: torch.channels_last}


class ThroughputConfig(Config):
    """Latency, images/s, peak memory and parameters, by batch, dtype and memory format."""

    tokenizer: str | None = Field(default=None, description="any tokenizer source, or random:PRESET")
    generator: str | None = Field(default=None, description="any generator source, or random:dit-B/2")
    against: Literal["diffusers"] | None = Field(default=None, description="the same weights in their class")
    resolution: int = Field(default=256, ge=16)
    batch_sizes: tuple[int, ...] = (1, 8)
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
    channels_last: tuple[bool, ...] = Field(
        default=(False, True), description="memory formats, tokenizers only"
    )
    repeats: int = Field(default=10, ge=2, description="timed calls of each")
    warmup: int = Field(default=2, ge=1)
    seed: int = 0
    device: str = "auto"
    out: Path | None = Field(default=None, description="folder for throughput.json")


class Timing(Config):
    """One network doing one thing."""

    network: str
    operation: str
    batch_size: int
    dtype: str
    channels_last: bool
    p50_ms: float
    p95_ms: float
    images_per_s: float
    processor_ms: float | None = Field(description="median processor time, all threads; on a CPU only")
    peak_memory_mib: float | None = Field(description="weights and what a call allocates; on a GPU only")


class Comparison(Config):
    """Ours against theirs, the same weights and input."""

    operation: str
    batch_size: int
    dtype: str
    channels_last: bool
    ratio: float = Field(description="our median time over theirs; below 1 is faster")
    ratio_of_best: float = Field(description="the same of the fastest calls")
    ratio_of_processor: float | None = Field(description="of processor time, which others disturb least")
    max_abs_difference: float
    relative_difference: float = Field(description="over the range of their output")


class ThroughputReport(Config):
    """``throughput.json``."""

    format: Literal[1] = 1
    job: Literal["throughput"] = "throughput"
    source: str
    resolution: int | None
    num_parameters: int
    timings: tuple[Timing, ...]
    comparisons: tuple[Comparison, ...]
    repeats: int
    machine: machine.Machine
    commit: str | None

    def summary(self) -> str:
        """A table for the terminal."""
        lines = [
            f"{self.source}: {self.num_parameters / 1e6:.1f}M parameters, {self.machine.device}, "
            f"{self.machine.threads} threads, torch {self.machine.torch}",
            f"{'network':10s} {'operation':9s} {'batch':>5s} {'dtype':9s} {'format':13s}"
            f"{'p50 ms':>10s} {'p95 ms':>10s} {'images/s':>9s} {'peak MiB':>9s}",
        ]
        for item in self.timings:
            memory = "-" if item.peak_memory_mib is None else f"{item.peak_memory_mib:.0f}"
            lines.append(
                f"{item.network:10s} {item.operation:9s} {item.batch_size:5d} {item.dtype:9s} "
                f"{_format(item.channels_last):13s}{item.p50_ms:10.2f} {item.p95_ms:10.2f} "
                f"{item.images_per_s:9.2f} {memory:>9s}"
            )
        for pair in self.comparisons:
            busy = pair.ratio_of_processor
            processor = "" if busy is None else f", processor time x {busy:.3f}"
            lines.append(
                f"ours / diffusers, {pair.operation}, batch {pair.batch_size}, {pair.dtype}, "
                f"{_format(pair.channels_last)}: median time x {pair.ratio:.3f}, best x "
                f"{pair.ratio_of_best:.3f}{processor}, max abs difference {pair.max_abs_difference:.2e} "
                f"({pair.relative_difference:.1e} of the range)"
            )
        return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(ThroughputConfig, "eval.throughput", PRESETS, argv)
    with refusals("eval.throughput"):
        reports = run(config)
    for report in reports:
        sys.stdout.write(report.summary())


def run(config: ThroughputConfig) -> list[ThroughputReport]:
    """Measure what was named: the tokenizer, the generator, or both.

    Raises:
        EvaluationError: if nothing was named, a source does not load, or diffusers has no such class.
    """
    if config.tokenizer is None and config.generator is None:
        raise EvaluationError("name what to measure: tokenizer=SOURCE, generator=SOURCE, or both")
    try:
        device = machine.pick_device(config.device)
        reports = []
        if config.tokenizer is not None:
            sides = tokenizer_contenders(
                config.tokenizer,
                device,
                against=config.against,
                resolution=config.resolution,
                seed=config.seed,
            )
            reports.append(_measure(config, config.tokenizer, sides, device, config.channels_last))
        if config.generator is not None:
            sides = denoiser_contenders(config.generator, device, against=config.against, seed=config.seed)
            reports.append(_measure(config, config.generator, sides, device, (False,)))
        if config.out is not None:
            config.out.mkdir(parents=True, exist_ok=True)
            records = [report.model_dump(mode="json") for report in reports]
            write_text(config.out / "throughput.json", json.dumps(records, indent=1, allow_nan=False) + "\n")
    except (ValueError, OSError) as error:
        raise EvaluationError(str(error)) from error
    return reports


def _measure(
    config: ThroughputConfig,
    source: str,
    sides: Sequence[Contender],
    device: torch.device,
    channels_last: Sequence[bool],
) -> ThroughputReport:
    timings: list[Timing] = []
    comparisons: list[Comparison] = []
    # float32 first: parameters that were once rounded to bfloat16 do not come back
    dtypes = sorted(set(config.dtypes), key=list(DTYPES).index)
    cases = [
        (dtype, last, batch_size, operation)
        for dtype in dtypes
        for last in channels_last
        for batch_size in config.batch_sizes
        for operation in sides[0].operations
    ]
    with tqdm(cases, desc="throughput", unit="case") as bar:
        for dtype, last, batch_size, operation in bar:
            bar.set_postfix_str(f"{operation} batch {batch_size} {dtype} {_format(last)}")
            for side in sides:
                # the plain `to`: that of diffusers warns of parts to keep in float32 even where none are
                nn.Module.to(side.module, dtype=DTYPES[dtype])
                nn.Module.to(side.module, memory_format=FORMATS[last])
            calls = [side.prepare(operation, batch_size, DTYPES[dtype], FORMATS[last]) for side in sides]
            durations = take_turns(calls, config.repeats, config.warmup, device)
            described = {
                "operation": operation,
                "batch_size": batch_size,
                "dtype": dtype,
                "channels_last": last,
            }
            for side, call, times in zip(sides, calls, durations, strict=True):
                timings.append(
                    _timing(side.name, times, peak_memory_mib(call, side.module, device), described)
                )
            if len(sides) == 2:
                comparisons.append(_compare(calls, durations, described))
    return ThroughputReport(
        source=source,
        resolution=sides[0].resolution,
        num_parameters=sum(parameter.numel() for parameter in sides[0].module.parameters()),
        timings=tuple(timings),
        comparisons=tuple(comparisons),
        repeats=config.repeats,
        machine=machine.describe(device),
        commit=machine.commit(),
    )


def _timing(
    name: str, durations: Sequence[Duration], memory: float | None, described: dict[str, object]
) -> Timing:
    seconds = [duration.seconds for duration in durations]
    p50 = quantile(seconds, 0.5)
    return Timing.parse(
        {
            **described,
            "network": name,
            "p50_ms": 1e3 * p50,
            "p95_ms": 1e3 * quantile(seconds, 0.95),
            "images_per_s": int(str(described["batch_size"])) / p50,
            "processor_ms": processor_ms(durations),
            "peak_memory_mib": memory,
        }
    )


@torch.inference_mode()
def _compare(
    calls: Sequence[Callable[[], Tensor]],
    durations: Sequence[Sequence[Duration]],
    described: dict[str, object],
) -> Comparison:
    ours, theirs = (call().float() for call in calls)
    ours_s, theirs_s = ([duration.seconds for duration in side] for side in durations)
    ours_ms, theirs_ms = (processor_ms(side) for side in durations)
    difference = float((ours - theirs).abs().max())
    return Comparison.parse(
        {
            **described,
            "ratio": quantile(ours_s, 0.5) / quantile(theirs_s, 0.5),
            "ratio_of_best": min(ours_s) / min(theirs_s),
            "ratio_of_processor": ours_ms / theirs_ms if ours_ms and theirs_ms else None,
            "max_abs_difference": difference,
            "relative_difference": difference / max(float(theirs.max() - theirs.min()), 1e-30),
        }
    )


def _format(channels_last: bool) -> str:
    return "channels_last" if channels_last else "contiguous"


if __name__ == "__main__":
    main()
