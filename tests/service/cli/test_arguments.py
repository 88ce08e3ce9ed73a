"""What can be asked, and that help says so."""

import pytest

from service.cli import commands, job_commands
from service.cli.arguments import build

COMMANDS = ("encode", "decode", "reconstruct", "generate", "evaluate", "models", "jobs")


def test_commands_and_their_defaults() -> None:
    asked = build().parse_args(["encode", "a.png", "b.png"])
    assert (asked.run, asked.inputs, asked.out, asked.concurrency) == (
        commands.encode,
        ["a.png", "b.png"],
        None,
        8,
    )
    asked = build().parse_args(["generate", "--label", "7", "--size", "64x128", "-o", "a.png"])
    assert (asked.run, asked.label, asked.size) == (commands.generate, 7, (64, 128))
    assert build().parse_args(["generate", "--label", "rose", "-o", "-"]).label == "rose"
    asked = build().parse_args(
        ["evaluate", "flowers", "-o", "a.html", "-o", "a.json", "--metrics", "psnr", "ssim"]
    )
    assert (asked.run, asked.out, asked.metrics) == (
        job_commands.evaluate,
        ["a.html", "a.json"],
        ["psnr", "ssim"],
    )
    assert build().parse_args(["jobs", "list", "--url", "http://there", "--json"]).url == "http://there"


def test_tokens_steps_and_seeds_belong_to_the_commands_that_decode() -> None:
    asked = build().parse_args(["decode", "a", "--num-tokens", "8", "--steps", "2", "--seed", "0"])
    assert (asked.num_tokens, asked.steps, asked.seed) == (8, 2, 0)
    asked = build().parse_args(["reconstruct", "a", "--num-tokens", "8"])
    assert (asked.num_tokens, asked.steps, asked.seed) == (8, None, None)
    assert build().parse_args(["encode", "a", "--num-tokens", "8"]).num_tokens == 8


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["encode"],
        ["encode", "a", "--concurrency", "0"],
        ["encode", "a", "--timeout", "0"],
        ["decode", "a", "--output", "bmp"],
        ["generate", "-o", "a", "--size", "64"],
        ["jobs", "explode"],
    ],
)
def test_what_cannot_be_asked(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build().parse_args(wrong)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build().parse_args([command, "--help"])
    assert ended.value.code == 0
    assert "TESSERA_URL" in capsys.readouterr().out


def test_the_help_shows_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build().parse_args(["--help"])
    told = capsys.readouterr().out
    assert all(f"service.cli {command}" in told for command in ("encode", "decode", "generate", "evaluate"))
    assert "Exit status" in told
