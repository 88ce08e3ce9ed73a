"""What can be asked on the command line, and its help."""

from __future__ import annotations

import argparse
import re

from service.cli import commands, job_commands
from service.cli.files import SUFFIXES

EXAMPLES = """examples:
  python -m service.cli encode photographs/ -o latents/
  python -m service.cli decode latents/ -o decoded/ --output webp
  python -m service.cli reconstruct photograph.jpg -o reconstruction.png
  python -m service.cli encode - < photograph.jpg | python -m service.cli decode - > decoded.png
  python -m service.cli generate --label 3 --seed 7 --num-images 4 -o made.png
  python -m service.cli evaluate validation --model photos -o report.html

Results that exist are skipped, so a command that was interrupted goes on where it was.
Exit status: 0, 1 if something failed (it is named), 2 if the command cannot run as asked.
The server is TESSERA_URL (http://127.0.0.1:8000 without it), the key TESSERA_API_KEY.
"""
OUTPUTS = tuple(SUFFIXES)


def build() -> argparse.ArgumentParser:
    """The parser of all commands; ``run`` of its namespace is the command."""
    parser = argparse.ArgumentParser(
        prog="python -m service.cli",
        description="Encode, decode, reconstruct, generate and evaluate with a running server.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    below = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = _shared()
    _encode(below.add_parser("encode", parents=[shared], help="pictures to latents or indices"))
    _decode(below.add_parser("decode", parents=[shared], help="latents to pictures"))
    _reconstruct(
        below.add_parser("reconstruct", parents=[shared], help="pictures through a tokenizer, with PSNR")
    )
    _generate(below.add_parser("generate", parents=[shared], help="pictures of a class or a prompt"))
    _evaluate(
        below.add_parser("evaluate", parents=[shared], help="measure a model on a data set of the server")
    )
    _models(below.add_parser("models", parents=[shared], help="what is served; load, unload, default"))
    _jobs(
        below.add_parser(
            "jobs", parents=[shared], help="list, show, wait, cancel, delete, result, log, report"
        )
    )
    return parser


def _shared() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("server and output")
    group.add_argument("--url", help="http://host:port; TESSERA_URL without it")
    group.add_argument(
        "--timeout", type=_positive, default=600.0, metavar="S", help="of one request, retries included"
    )
    group.add_argument("--retries", type=int, default=6, metavar="N", help="after the first try; 0 for none")
    group.add_argument(
        "--priority",
        choices=("interactive", "batch"),
        default="interactive",
        help="batch gives way to all others",
    )
    group.add_argument("--json", action="store_true", help="results as JSON on standard output")
    group.add_argument("--quiet", action="store_true", help="no bar and no summary; failures are told")
    return parser


def _inputs(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help=f"{what}: files, folders, or - for standard input"
    )
    parser.add_argument("-o", "--out", help="a file, a folder for several, or - for standard output")
    parser.add_argument("--model", help="a tokenizer of the server; the default one without it")
    parser.add_argument("--concurrency", type=_count, default=8, metavar="N", help="requests at once")
    parser.add_argument("--overwrite", action="store_true", help="make again what is there")


def _output(parser: argparse.ArgumentParser, more: tuple[str, ...] = ()) -> None:
    parser.add_argument(
        "--output",
        dest="output_format",
        choices=(*OUTPUTS, *more),
        default="png",
        help="format of the pictures",
    )
    parser.add_argument("--quality", type=int, metavar="0-100", help="of jpeg, webp and avif")


def _num_tokens(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--num-tokens", type=_count, metavar="N", help="of a row of tokens the first so many; all without it"
    )


def _decoding(parser: argparse.ArgumentParser) -> None:
    _num_tokens(parser)
    parser.add_argument(
        "--steps", type=_count, metavar="N", help="of a decoder that draws the pixels; its own without it"
    )
    parser.add_argument("--seed", type=int, help="of its noise; the same noise every time without it")


def _encode(parser: argparse.ArgumentParser) -> None:
    _inputs(parser, "pictures")
    parser.add_argument(
        "--what", choices=("latent", "indices"), default="latent", help="indices of a discrete tokenizer"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16", "uint8"),
        default="float32",
        help="of the saved latents",
    )
    _num_tokens(parser)
    parser.set_defaults(run=commands.encode)


def _decode(parser: argparse.ArgumentParser) -> None:
    _inputs(parser, "latents, safetensors")
    _output(parser)
    _decoding(parser)
    parser.set_defaults(run=commands.decode)


def _reconstruct(parser: argparse.ArgumentParser) -> None:
    _inputs(parser, "pictures")
    _output(parser)
    _decoding(parser)
    parser.set_defaults(run=commands.reconstruct)


def _generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", type=_label, help="class, by index or by name")
    parser.add_argument("--prompt", help="of models that take text")
    parser.add_argument("--negative-prompt", help="what to keep away from")
    parser.add_argument("--model", help="a generator of the server; the default one without it")
    parser.add_argument("--num-images", type=_count, default=1, metavar="N", help="picture i has seed + i")
    parser.add_argument("--steps", type=_count, metavar="N", help="sampling steps")
    parser.add_argument("--guidance", type=float, help="1 is none")
    parser.add_argument("--seed", type=int, help="random, and told, without it")
    parser.add_argument("--size", type=_size, metavar="HxW", help="one of the model's")
    parser.add_argument(
        "-o", "--out", required=True, help="a file (several get -0, -1, ...), or - for standard output"
    )
    _output(parser, ("latent",))
    parser.set_defaults(run=commands.generate)


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="a data set of the server, by name")
    parser.add_argument("--job", choices=("reconstruct", "generate"), default="reconstruct")
    parser.add_argument("--model", help="by name; the default one without it")
    parser.add_argument("--protocol", help="as `python -m eval.protocols` lists them")
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--num-images", type=_count, metavar="N")
    parser.add_argument("--resolution", type=_count, metavar="SIDE")
    parser.add_argument("--batch-size", type=_count, metavar="N")
    parser.add_argument("--idempotency-key", metavar="KEY", help="the same key starts it once")
    parser.add_argument("--no-wait", action="store_true", help="tell its id and return")
    parser.add_argument(
        "-o", "--out", action="append", help="report.html, .json, .csv, .png or .npz; may be repeated"
    )
    parser.set_defaults(run=job_commands.evaluate)


def _models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "change", nargs="?", choices=("load", "unload", "default"), help="without it: list them"
    )
    parser.add_argument("name", nargs="?", help="of the model that is changed")
    parser.add_argument("--kind", choices=("tokenizer", "generator"), help="where two share the name")
    parser.set_defaults(run=commands.models)


def _jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=tuple(job_commands.ACTIONS))
    parser.add_argument("id", nargs="?", help="of the job; not for list")
    parser.add_argument(
        "--status",
        choices=("queued", "in_progress", "completed", "failed", "cancelled"),
        help="list only these",
    )
    parser.add_argument("-o", "--out", help="file for result and report, or - for standard output")
    parser.set_defaults(run=job_commands.jobs)


def _label(text: str) -> int | str:
    return int(text) if re.fullmatch(r"\d+", text) else text


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be 1 or more")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0")
    return value


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text}: write HEIGHTxWIDTH, for example 128x128")
    return int(found[1]), int(found[2])
