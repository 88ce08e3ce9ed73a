"""Two processes take turns, the report adds up; no test judges how long anything took."""

import json
from pathlib import Path

import pytest
import yaml

from eval import training_speed
from eval.training_speed import Measured, TrainingSpeedConfig, ratio

MODEL = {
    "backbone": {
        "kind": "kl",
        "latent_channels": 4,
        "widths": [8, 8],
        "blocks_per_level": 1,
        "norm_groups": 4,
    },
    "bottleneck": {"kind": "kl"},
}


@pytest.mark.slow
def test_both_sides_of_both_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "small.yaml"
    preset.write_text(yaml.safe_dump({"model": MODEL}))
    training_speed.main(
        [
            f"model={preset}",
            "resolution=32",
            "batch=2",
            "compile=false",
            "lpips=false",
            "repeats=2",
            "warmup=1",
            f"out={tmp_path}",
        ]
    )
    tree = json.loads((tmp_path / "training_speed.json").read_text())
    assert {(item["side"], item["case"]) for item in tree["measured"]} == {
        (side, case) for side in training_speed.SIDES for case in training_speed.CASES
    }
    for item in tree["measured"]:
        assert item["learned_images_per_s"] == pytest.approx(2 / item["seconds"])
        twice = item["side"] == "diffusers" and item["case"] == "with the adversary"
        assert item["read_images_per_s"] == pytest.approx((2 if twice else 1) * item["learned_images_per_s"])
        assert item["total_loss"] > 0
    assert tree["settings"]["their_precision"] == "bf16"
    text = capsys.readouterr().out
    assert "ours / diffusers, with the adversary: learned x" in text


def measured(side: str, seconds: float, pictures: int, processor_s: float | None = None) -> Measured:
    return Measured(
        side=side,
        case="with the adversary",
        seconds=seconds,
        processor_s=processor_s,
        learned_images_per_s=4 / seconds,
        read_images_per_s=pictures / seconds,
        total_loss=1.0,
    )


def test_ratios_are_ours_over_theirs() -> None:
    found = ratio("with the adversary", [measured("ours", 2.0, 4, 3.0), measured("diffusers", 3.0, 8, 6.0)])
    assert found.learned == pytest.approx(1.5)
    assert found.read == pytest.approx(0.75)
    assert found.processor == pytest.approx(2.0)
    alone = ratio("with the adversary", [measured("ours", 2.0, 4), measured("diffusers", 3.0, 8)])
    assert alone.processor is None


def test_a_side_that_fails_is_named() -> None:
    class Broken:
        def send(self, _: object) -> None:
            raise BrokenPipeError

    with pytest.raises(ValueError, match="the process of ours ended; was there enough memory"):
        training_speed.ask("ours", Broken(), False)  # type: ignore[arg-type]  # a pipe whose end is gone

    class Failed:
        def send(self, _: object) -> None:
            pass

        def recv(self) -> object:
            return RuntimeError("no room")

    with pytest.raises(ValueError, match="diffusers: RuntimeError: no room"):
        training_speed.ask("diffusers", Failed(), True)  # type: ignore[arg-type]  # a pipe that answers with an error

    class Infinite(Failed):
        def recv(self) -> object:
            return 1.0, 1.0, {"total": float("nan")}

    with pytest.raises(ValueError, match="ours: a loss is not finite"):
        training_speed.ask("ours", Infinite(), True)  # type: ignore[arg-type]  # a pipe with a diverged side


def test_mistakes_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, sentence in (
        (["model=tiny"], "trains KL autoencoders"),
        (["model=nothing"], "no preset 'nothing'"),
        (["precision=fp8"], "precision"),
    ):
        with pytest.raises(SystemExit) as stopped:
            training_speed.main(arguments)
        assert stopped.value.code == 2
        assert sentence in capsys.readouterr().err


def test_presets_are_valid() -> None:
    for file in sorted(training_speed.PRESETS.glob("*.yaml")):
        TrainingSpeedConfig.load(file)
