"""What a tokenizer costs to run: latency by batch size, images a second, memory, operations, parameters.

Letters: B pictures of a batch, N pictures, R resolution.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from eval.measures import flops
from eval.pixels import from_uint8
from eval.timing import Duration, peak_memory_mib, peak_resident_mib, processor_ms, quantile, take_turns
from tokenizer.core.config import Config
from tokenizer.model import Tokenizer
from tokenizer.tiling import TilePlan

WARMUP = 1


class CostRow(Config):
    """One operation at one batch size."""

    operation: str
    batch_size: int
    p50_ms: float
    p95_ms: float
    images_per_s: float = Field(description="batch size over the median time")
    processor_ms: float | None = Field(
        default=None, description="median processor time, all threads; on a CPU only"
    )
    peak_memory_mib: float | None = Field(default=None, description="weights and one call; on a GPU only")


class CostRecord(Config):
    """On the machine that the report names."""

    resolution: int
    dtype: str
    tiles: str | None = None
    repeats: int
    rows: tuple[CostRow, ...]
    parameters: dict[str, int] = Field(default={}, description="by part, and of all of it")
    gflops_encode: float | None = Field(default=None, description="of one picture; a multiply-add is two")
    gflops_decode: float | None = None
    peak_resident_mib: float = Field(description="of the whole process, its metrics and libraries included")
    missing: dict[str, str] = {}


def measure(
    network: object,
    tokenizer: Tokenizer,
    pictures: Tensor,
    *,
    batch_sizes: Sequence[int],
    repeats: int,
    device: torch.device,
    dtype: str,
    tiles: TilePlan | None,
) -> CostRecord:
    """Time encoding and decoding in turns.

    Args:
        network: whose parameters are counted, if it is a module.
        tokenizer: it, as it is measured: takes float32 and works in its dtype and tiles.
        pictures: uint8 (N, 3, R, R), repeated where a batch holds more.
        batch_sizes: B.
        repeats: timed calls of each.
        device: of the network.
        dtype: how the record calls what it computes in.
        tiles: of the job, for the record.
    """
    missing: dict[str, str] = {}
    side = int(pictures.shape[-1])
    rows: list[CostRow] = []
    for batch_size in batch_sizes:
        rows += _timed(network, tokenizer, pictures, batch_size, repeats, device)
    found = None
    if isinstance(network, nn.Module):
        found = flops.count(tokenizer, (side, side), device)
    else:
        missing |= dict.fromkeys(("parameters", "gflops"), "the network is elsewhere, behind a server")
    return CostRecord(
        resolution=side,
        dtype=dtype,
        tiles=None if tiles is None else f"{tiles.tile} pixels, overlap {tiles.overlap}",
        repeats=repeats,
        rows=tuple(rows),
        parameters=_parameters(network),
        gflops_encode=None if found is None else found.encode / 1e9,
        gflops_decode=None if found is None else found.decode / 1e9,
        peak_resident_mib=peak_resident_mib(),
        missing=missing,
    )


def _timed(
    network: object,
    tokenizer: Tokenizer,
    pictures: Tensor,
    batch_size: int,
    repeats: int,
    device: torch.device,
) -> list[CostRow]:
    real = pictures[torch.arange(batch_size) % len(pictures)].to(device)
    x = from_uint8(real)
    with torch.inference_mode():
        latent = tokenizer.encode(x)
    calls = {"encode": lambda: tokenizer.encode(x), "decode": lambda: tokenizer.decode(latent)}
    durations = take_turns(list(calls.values()), repeats, WARMUP, device)
    rows = []
    for (operation, call), times in zip(calls.items(), durations, strict=True):
        memory = peak_memory_mib(call, network, device) if isinstance(network, nn.Module) else None
        rows.append(_row(operation, batch_size, times, memory))
    return rows


def _row(operation: str, batch_size: int, times: Sequence[Duration], memory: float | None) -> CostRow:
    seconds = [duration.seconds for duration in times]
    p50 = quantile(seconds, 0.5)
    return CostRow(
        operation=operation,
        batch_size=batch_size,
        p50_ms=1e3 * p50,
        p95_ms=1e3 * quantile(seconds, 0.95),
        images_per_s=batch_size / p50,
        processor_ms=processor_ms(times),
        peak_memory_mib=memory,
    )


def _parameters(network: object) -> dict[str, int]:
    if not isinstance(network, nn.Module):
        return {}
    parts = {
        name: sum(parameter.numel() for parameter in child.parameters())
        for name, child in network.named_children()
    }
    found = {name: count for name, count in parts.items() if count}
    return found | {"all": sum(parameter.numel() for parameter in network.parameters())}
