"""encode, decode, reconstruct, generate, models."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from service.cli.files import LATENTS, PICTURES, STREAM, SUFFIXES, Task, Usage, tasks
from service.cli.many import carry_out, tell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from service.cli.many import Outcome
    from service.client import Client
    from service.client.answers import Told
    from service.client.progress import Step


def encode(client: Client, asked: argparse.Namespace) -> int:
    """Pictures to latents or indices."""

    def work(task: Task) -> dict[str, Any]:  # JSON
        latent = client.encode(
            task.read(),
            model=asked.model,
            what=asked.what,
            dtype=asked.dtype,
            num_tokens=asked.num_tokens,
        )
        body = latent.to_bytes(asked.dtype)
        task.write(body)
        return {"size": list(latent.size), "spec_id": latent.spec_id, "bytes": len(body)}

    return _files(
        asked, PICTURES, ".safetensors", work, lambda done: f"{_sum(done, 'bytes')} bytes of latents"
    )


def decode(client: Client, asked: argparse.Namespace) -> int:
    """Latents to pictures; a file of several samples gives several."""

    def work(task: Task) -> dict[str, Any]:  # JSON
        pictures = client.decode(
            task.read(),
            model=asked.model,
            output=asked.output_format,
            quality=asked.quality,
            **_decoding(asked),
        )
        if len(pictures) == 1:
            task.write(pictures[0].data)
        elif task.target is None:
            raise ValueError("several samples cannot share standard output: name a file with -o FILE")
        else:
            task.target.parent.mkdir(parents=True, exist_ok=True)
            pictures.save(task.target)
        return {"pictures": len(pictures), **_told(pictures.told)}

    return _files(asked, LATENTS, SUFFIXES[asked.output_format], work, lambda _: "")


def reconstruct(client: Client, asked: argparse.Namespace) -> int:
    """Pictures to what encoding and decoding leave of them, with PSNR and ratio."""

    def work(task: Task) -> dict[str, Any]:  # JSON
        made = client.reconstruct(
            task.read(),
            model=asked.model,
            output=asked.output_format,
            quality=asked.quality,
            **_decoding(asked),
        )
        task.write(made.picture.data)
        psnr = made.psnr if math.isfinite(made.psnr) else "inf"
        return {
            "psnr": psnr,
            "pixel_bytes": made.pixel_bytes,
            "latent_bytes": made.latent_bytes,
            **_told(made.told),
        }

    def summary(done: list[dict[str, Any]]) -> str:
        values = [float(facts["psnr"]) for facts in done]
        ratio = _sum(done, "pixel_bytes") / max(1, _sum(done, "latent_bytes"))
        return (
            f"PSNR {sum(values) / len(values):.2f} dB (mean), latents {ratio:.1f} times smaller than pixels"
        )

    suffix = SUFFIXES[asked.output_format]
    return _files(asked, PICTURES, suffix, work, summary)


def generate(client: Client, asked: argparse.Namespace) -> int:
    """A class or a prompt to pictures or latents; the seed is told."""
    wanted = {
        "label": asked.label,
        "prompt": asked.prompt,
        "negative_prompt": asked.negative_prompt,
        "model": asked.model,
        "num_images": asked.num_images,
        "num_steps": asked.steps,
        "guidance": asked.guidance,
        "seed": asked.seed,
        "size": asked.size,
        "quality": asked.quality,
    }
    target = None if asked.out == STREAM else Path(asked.out)
    if asked.output_format == "latent":
        latent = client.generate_latent(**wanted)
        Task(None, target).write(latent.to_bytes())
        facts: dict[str, Any] = {"seed": _number(latent.metadata.get("seed")), "size": list(latent.size)}
        return _tell_made([] if target is None else [target], facts, asked)
    with tqdm(desc="generate", unit="step", leave=False, disable=True if asked.quiet else None) as bar:
        pictures = client.generate(
            output=asked.output_format, on_step=None if asked.quiet else _drawn(bar), **wanted
        )
    if target is None:
        if len(pictures) > 1:
            raise ValueError("several pictures cannot share standard output: name a file with -o FILE")
        Task(None, None).write(pictures[0].data)
        paths = []
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        paths = pictures.save(target)
    return _tell_made(paths, {"seed": pictures.seed, **_told(pictures.told)}, asked)


def models(client: Client, asked: argparse.Namespace) -> int:
    """What is served; or a model loaded, unloaded, made the default."""
    if asked.change is None:
        found = client.models()
    elif asked.name is None:
        raise Usage(f"models {asked.change} needs the name of a model: `models` shows them")
    else:
        found = [client.change_model(asked.name, asked.change, asked.kind)]
    if asked.json:
        sys.stdout.write(json.dumps([dict(model.facts) for model in found], indent=1) + "\n")
        return 0
    rows = [("name", "kind", "default", "state", "spec", "licence")]
    rows += [
        (
            model.name,
            model.kind,
            "yes" if model.default else "",
            str(model.facts.get("state") or ""),
            str(model.facts.get("spec_id") or "")[:12],
            str(model.facts.get("licence") or ""),
        )
        for model in found
    ]
    write_rows(rows)
    return 0


def write_rows(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns for people; the first row is their names."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _files(
    asked: argparse.Namespace,
    kinds: frozenset[str],
    suffix: str,
    work: Callable[[Task], dict[str, Any]],
    more: Callable[[list[dict[str, Any]]], str],
) -> int:
    todo = tasks(asked.inputs, asked.out, kinds=kinds, suffix=suffix)
    outcome = carry_out(
        todo,
        work,
        concurrency=asked.concurrency,
        overwrite=asked.overwrite,
        description=asked.command,
        quiet=asked.quiet or todo[0].target is None,
    )
    return tell(outcome, as_json=asked.json, summary="" if asked.quiet else _summary(outcome, more))


def _decoding(asked: argparse.Namespace) -> dict[str, Any]:  # arguments by name
    return {"num_tokens": asked.num_tokens, "num_steps": asked.steps, "seed": asked.seed}


def _summary(outcome: Outcome, more: Callable[[list[dict[str, Any]]], str]) -> str:
    counts = [f"{len(outcome.done)} done"]
    if outcome.skipped:
        counts.append(
            f"{len(outcome.skipped)} skipped, as their results are there (--overwrite makes them again)"
        )
    if outcome.failed:
        counts.append(f"{len(outcome.failed)} FAILED")
    extra = more(outcome.done) if outcome.done else ""
    return ", ".join(counts) + (f"; {extra}" if extra else "")


def _tell_made(paths: list[Path], facts: dict[str, Any], asked: argparse.Namespace) -> int:
    if asked.json:
        sys.stdout.write(json.dumps({"outputs": [str(path) for path in paths], **facts}, indent=1) + "\n")
    elif not asked.quiet:
        for path in paths:
            sys.stderr.write(f"{path}\n")
        sys.stderr.write(f"seed {facts['seed']}\n")
    return 0


def _drawn(bar: tqdm[Any]) -> Callable[[Step], None]:
    def show(step: Step) -> None:
        bar.total = step.num_steps
        bar.update(step.step - bar.n)

    return show


def _told(told: Told) -> dict[str, Any]:
    return {"request_id": told.request_id, "timings_ms": dict(told.timings_ms)}


def _sum(done: list[dict[str, Any]], name: str) -> int:
    return sum(int(facts[name]) for facts in done)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
