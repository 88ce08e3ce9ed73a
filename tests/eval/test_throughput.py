"""The bookkeeping of times; no test judges how long anything took."""

import json
from pathlib import Path

import pytest

from eval import throughput
from eval.throughput import ThroughputConfig, run


def test_report_has_both_sides_of_every_case(
    tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    throughput.main(
        [
            f"tokenizer={tokenizer_folder}",
            "against=diffusers",
            "resolution=16",
            "batch_sizes=[1,2]",
            "repeats=2",
            "warmup=1",
            "device=cpu",
            f"out={tmp_path}",
        ]
    )
    (tree,) = json.loads((tmp_path / "throughput.json").read_text())
    cases = {
        (item["network"], item["operation"], item["batch_size"], item["dtype"], item["channels_last"])
        for item in tree["timings"]
    }
    assert len(cases) == len(tree["timings"]) == 2 * 2 * 2 * 2 * 2
    assert all(0 < item["p50_ms"] <= item["p95_ms"] for item in tree["timings"])
    assert all(item["peak_memory_mib"] is None for item in tree["timings"])
    assert all(item["processor_ms"] > 0 for item in tree["timings"])
    exact = [item for item in tree["comparisons"] if item["dtype"] == "float32"]
    assert len(tree["comparisons"]) == 16
    assert all(item["relative_difference"] <= 1e-5 for item in exact)
    assert tree["num_parameters"] > 0
    text = capsys.readouterr().out
    assert "ours / diffusers, encode, batch 1, float32" in text
    assert "channels_last" in text


def test_a_denoiser_is_timed_alone(generator_folder: Path) -> None:
    tree = {"generator": str(generator_folder), "repeats": 2, "batch_sizes": [2], "device": "cpu"}
    (report,) = run(ThroughputConfig.parse(tree))
    assert [item.operation for item in report.timings] == ["denoise", "denoise"]
    assert [item.dtype for item in report.timings] == ["float32", "bfloat16"]
    assert report.comparisons == ()


def test_float32_is_measured_before_its_weights_are_rounded() -> None:
    config = {"tokenizer": "random:tiny", "dtypes": ["bfloat16", "float32"], "resolution": 16, "repeats": 2}
    config |= {"batch_sizes": [1], "channels_last": [False], "against": "diffusers", "device": "cpu"}
    (report,) = run(ThroughputConfig.parse(config))
    assert [item.dtype for item in report.comparisons] == ["float32", "float32", "bfloat16", "bfloat16"]
    assert all(item.relative_difference <= 1e-5 for item in report.comparisons[:2])


def test_mistakes_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, sentence in (
        ([], "name what to measure"),
        (["tokenizer=nothing"], "no tokenizer 'nothing'"),
    ):
        with pytest.raises(SystemExit) as stopped:
            throughput.main(arguments)
        assert stopped.value.code == 2
        assert sentence in capsys.readouterr().err


def test_presets_are_valid() -> None:
    for file in sorted(throughput.PRESETS.glob("*.yaml")):
        ThroughputConfig.load(file)
