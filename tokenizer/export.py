"""Write a tokenizer as a diffusers folder that ``from_pretrained`` loads, and check that it does.

``python -m tokenizer.export source=SOURCE out=FOLDER``
"""

import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn

from tokenizer.adapters.diffusers import Latents, diffusers_config, raw_latent, to_diffusers
from tokenizer.core import checkpoint
from tokenizer.core.config import Config, from_cli
from tokenizer.loading import load
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec

_TOLERANCE = 1e-4  # of the range: rounding stays far below it, a tensor in the wrong place far above


class ExportConfig(Config):
    """Write a tokenizer as a diffusers folder that from_pretrained loads."""

    source: str = Field(description="a folder of ours or of diffusers, hf:org/name, or a bundled model")
    out: Path = Field(description="the folder to write; it must not exist")
    latents: Latents = Field(
        "scaled",
        description="scaled: raw latents and weights as they are, one scale for all channels; "
        "folded: latents equal to our normalised ones, where the class can do that exactly",
    )


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made.

    Attributes:
        name: the diffusers class.
        difference: largest difference of latents and pictures between both, as a fraction of their range.
        scale: the exported scaling_factor.
        shift: the exported shift_factor, 0 where there is none.
        exact: whether latents normalised by that convention equal our normalised ones.
    """

    name: str
    difference: float
    scale: float
    shift: float
    exact: bool


def export(autoencoder: Autoencoder, out: Path, *, latents: Latents = "scaled") -> Exported:
    """Write ``out`` in one step, once diffusers has loaded it and given the same latents and pictures.

    Args:
        autoencoder: one that diffusers has a class for and that knows its latent statistics.
        out: the folder to write.
        latents: see ``to_diffusers``.

    Raises:
        ValueError: if ``out`` exists, or the tokenizer cannot be expressed in that way.
        RuntimeError: if what was written gives other output than ``autoencoder``; ``out`` is not made then.
    """
    if out.exists():
        raise ValueError(f"{out} exists: remove it first or give another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    module = to_diffusers(autoencoder, latents=latents)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        module.save_pretrained(temporary, safe_serialization=True)  # type: ignore[operator]  # untyped mixin
        exported = _verify(autoencoder, type(module), temporary, folded=latents == "folded")
        readers = (temporary / "config.json").stat().st_mode
        for path in temporary.iterdir():
            path.chmod(readers)  # safetensors gives its file to the owner alone
            checkpoint.flush(path)
        checkpoint.flush(temporary)
        temporary.rename(out)
        checkpoint.flush(out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return exported


@torch.inference_mode()
def _verify(ours: Autoencoder, kind: type[nn.Module], folder: Path, *, folded: bool) -> Exported:
    """Load ``folder`` with diffusers and pass one random picture through both."""
    theirs = kind.from_pretrained(folder)  # type: ignore[attr-defined]  # untyped mixin
    factor = ours.spec.z.spatial_factor
    x = torch.rand(1, 3, 3 * factor, 2 * factor, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latent = ours.encode(x)
    z = latent.z if folded else ours.spec.denormalize(latent.z)
    difference = max(
        _difference(z, raw_latent(theirs, x)), _difference(ours.decode(latent), theirs.decode(z).sample)
    )
    if not difference <= _TOLERANCE:  # so that NaN fails too
        raise RuntimeError(
            f"diffusers gives other output from the export: {difference:.1e} of the range apart"
        )
    config = {**theirs.config, "_class_name": kind.__name__}
    return Exported(
        name=kind.__name__,
        difference=difference,
        scale=config["scaling_factor"],
        shift=config.get("shift_factor") or 0.0,
        exact=folded or _agree(ours.spec, diffusers_config(config)[1]),
    )


def _difference(ours: Tensor, theirs: Tensor) -> float:
    span = (ours.max() - ours.min()).clamp_min(torch.finfo(ours.dtype).tiny)
    return ((ours - theirs).abs().max() / span).item()


def _agree(ours: LatentSpec, theirs: LatentSpec) -> bool:
    pairs = [
        *zip(ours.z.mean or (), theirs.z.mean or (), strict=True),
        *zip(ours.z.std or (), theirs.z.std or (), strict=True),
    ]
    return all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in pairs)


def main(argv: Sequence[str] | None = None) -> None:
    """The command: load, export, report; a refusal is one line and exit status 2."""
    config = from_cli(ExportConfig, "tokenizer.export", argv=argv)
    try:
        tokenizer = load(config.source, dtype=torch.float32)
        if not isinstance(tokenizer, Autoencoder):
            raise ValueError(
                f"{config.source} is not an autoencoder on this machine: only one can be exported"
            )
        exported = export(tokenizer, config.out, latents=config.latents)
    except (ValueError, OSError, RuntimeError) as error:
        sys.stderr.write(f"tokenizer.export: {error}\n")
        raise SystemExit(2) from None
    sys.stdout.write(_report(exported, config.out, tokenizer.spec.z.channels))


def _report(exported: Exported, out: Path, channels: int) -> str:
    convention = f"(z - {exported.shift:g})" if exported.shift else "z"
    lines = [
        f"{out}: {exported.name}, loaded by diffusers and compared on a random picture",
        f"max difference {exported.difference:.1e} of the range",
        f"its latents are normalised as {convention} * {exported.scale:g}",
    ]
    if not exported.exact:
        lines.append(
            f"this one scale stands for the statistics of {channels} channels: a generator trained on our "
            "normalised latents does not fit this export"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
