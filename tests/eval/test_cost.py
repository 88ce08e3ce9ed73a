"""Costs of a tiny network: what does not depend on a clock is exact, what does has the right shape."""

from pathlib import Path

import torch

from eval.cost import measure
from eval.health import AsMeasured
from eval.measures import flops
from tokenizer.loading import load
from tokenizer.tiling import TilePlan

CPU = torch.device("cpu")
PICTURES = torch.randint(
    0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def test_a_module(tokenizer_folder: Path) -> None:
    tokenizer = load(tokenizer_folder)
    found = measure(
        tokenizer,
        AsMeasured(tokenizer, torch.float32),
        PICTURES,
        batch_sizes=(1, 3),
        repeats=2,
        device=CPU,
        dtype="float32",
        tiles=None,
    )
    assert [(row.operation, row.batch_size) for row in found.rows] == [
        ("encode", 1), ("decode", 1), ("encode", 3), ("decode", 3)
    ]  # fmt: skip
    for row in found.rows:
        assert 0 < row.p50_ms <= row.p95_ms
        assert row.processor_ms is not None
        assert row.peak_memory_mib is None  # of a GPU only
    expected = flops.count(tokenizer, (32, 32), CPU)
    assert found.gflops_encode == expected.encode / 1e9 > 0
    assert found.gflops_decode == expected.decode / 1e9 > 0
    counts = found.parameters
    assert counts["all"] == sum(parameter.numel() for parameter in tokenizer.parameters())
    assert counts["encoder"] + counts["decoder"] == counts["all"]
    assert found.peak_resident_mib > 50
    assert (found.tiles, found.missing) == (None, {})


def test_tiles_cost_more_operations(tokenizer_folder: Path) -> None:
    tokenizer, plan = load(tokenizer_folder), TilePlan(20, 8)
    tiled = AsMeasured(tokenizer, torch.float32, plan)
    found = measure(
        tokenizer, tiled, PICTURES, batch_sizes=(1,), repeats=2, device=CPU, dtype="float32", tiles=plan
    )
    assert found.tiles == "20 pixels, overlap 8"
    assert (found.gflops_encode or 0.0) > 1.4 * flops.count(tokenizer, (32, 32), CPU).encode / 1e9


def test_a_network_elsewhere_has_times_only(tokenizer_folder: Path) -> None:
    tokenizer = AsMeasured(load(tokenizer_folder), torch.float32)
    found = measure(
        tokenizer, tokenizer, PICTURES, batch_sizes=(1,), repeats=2, device=CPU, dtype="float32", tiles=None
    )
    assert (found.parameters, found.gflops_encode) == ({}, None)
    assert found.missing.keys() == {"parameters", "gflops"}
    assert len(found.rows) == 2
