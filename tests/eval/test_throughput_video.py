"""One table of video tokenizers; no test judges how long anything took."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eval import throughput_video
from eval.throughput_video import ThroughputVideoConfig, run
from tests.tokenizer.adapters.diffusers.video.theirs import wan

SMALL = {"frames": 5, "resolution": 16, "repeats": 2, "warmup": 1, "device": "cpu"}


def test_ours_and_theirs_in_one_table(
    wan_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"{key}={value}" for key, value in SMALL.items()]
    throughput_video.main(
        [f"tokenizers=[{wan_folder},{wan_folder}]", "against=diffusers", f"out={tmp_path}", *arguments]
    )
    tree = json.loads((tmp_path / "throughput_video.json").read_text())
    assert [row["network"] for row in tree["rows"]] == ["ours", "diffusers"] * 2
    ours, theirs = tree["rows"][:2]
    assert ours["latent"] == "f4t4c4"
    assert ours["num_parameters"] == theirs["num_parameters"] > 0
    assert ours["max_abs_difference"] <= 1e-4
    assert theirs["max_abs_difference"] is None
    assert all(row["encode_frames_per_s"] > 0 and row["decode_frames_per_s"] > 0 for row in tree["rows"])
    assert all(row["encode_peak_mib"] > 0 and row["decode_peak_mib"] > 0 for row in tree["rows"])
    assert "f4t4c4" in capsys.readouterr().out


def test_a_class_of_theirs_with_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    theirs = diffusers.AutoencoderKLWan

    def tiny(**settings: Any) -> nn.Module:
        return theirs(**settings) if settings else made

    made = wan()
    monkeypatch.setattr(diffusers, "AutoencoderKLWan", tiny)
    report = run(ThroughputVideoConfig.parse({"tokenizers": ["diffusers:AutoencoderKLWan"], **SMALL}))
    assert [row.network for row in report.rows] == ["ours"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tokenizers": ["nothing"]}, "no tokenizer 'nothing'"),
        ({"tokenizers": ["diffusers:AutoencoderKL"]}, "there are AutoencoderKLCogVideoX"),
        ({"tokenizers": ["demo"]}, "is a tokenizer of pictures"),
    ],
)
def test_mistakes_are_told(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        run(ThroughputVideoConfig.parse(SMALL | changes))


def test_against_needs_a_class_of_theirs(wan_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput_video, "COMPARED", ())
    with pytest.raises(ValueError, match="against=diffusers: none of the sources"):
        run(ThroughputVideoConfig.parse({"tokenizers": [str(wan_folder)], "against": "diffusers", **SMALL}))


def test_peaks_are_of_tensors_alive() -> None:
    def call() -> torch.Tensor:
        return torch.zeros(2**18) + 1  # two of 1 MiB at once

    assert throughput_video._peak_mib(call, torch.device("cpu")) == pytest.approx(2.0)
