"""A tokenizer's points of rate and distortion: quantise, write a file, read it, decode it, compare.

Half of the pictures, every second one, fit the tables; the others are coded, so that no table has seen what it codes.

Letters: B pictures of a batch, N pictures, R resolution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eval.errors import EvaluationError, NotComputedError
from eval.metrics.score import bootstrap_mean
from eval.pixels import from_uint8
from eval.protocols import EvaluationProtocol
from eval.rate import coder, file
from eval.rate.codes import Code, IndexCode, ValueCode
from eval.rate.record import RatePoint
from eval.report import Computed, Panel
from eval.weights import WeightsConfig
from tokenizer.model import Tokenizer, first_tokens
from tokenizer.spec import Latent, PartSpec

METRICS = ("psnr", "ssim")
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Setting:
    """One point to measure.

    Attributes:
        name: for people.
        step: of a continuous latent, in standard deviations; None for codes.
        num_tokens: of a row of tokens; None for all.
    """

    name: str
    step: float | None = None
    num_tokens: int | None = None

    @property
    def file(self) -> str:
        """Where its streams are kept."""
        return f"rate/{self.name.replace(' ', '_')}.safetensors"


@dataclass(frozen=True, slots=True)
class CodedSet:
    """The pictures of one rate measurement.

    Attributes:
        real: uint8 (N, 3, R, R), those that are coded.
        fitting: latents of the others, in batches.
        latents: of ``real``, in batches.
        batches: ``real`` in the same batches.
    """

    real: Tensor
    fitting: tuple[Latent, ...]
    latents: tuple[Latent, ...]
    batches: tuple[Tensor, ...]

    @classmethod
    @torch.inference_mode()
    def encoded(
        cls, tokenizer: Tokenizer, pictures: Tensor, batch_size: int, device: torch.device
    ) -> "CodedSet":
        """Encode pictures, uint8 (N, 3, R, R), N at least 2; every second one is for fitting."""
        if len(pictures) < 2:
            raise EvaluationError(f"a rate needs at least 2 pictures, got {len(pictures)}")
        fitting, real = pictures[0::2], pictures[1::2]
        latents = [
            tuple(tokenizer.encode(from_uint8(batch.to(device))) for batch in torch.split(part, batch_size))
            for part in (fitting, real)
        ]
        return cls(real, latents[0], latents[1], tuple(torch.split(real, batch_size)))


def settings(part: PartSpec, steps: Sequence[float]) -> list[Setting]:
    """The points of a part: all steps of a continuous one; of codes all tokens, then half as many while they decode."""
    if part.codebook_size is None:
        return [Setting(f"step {step:g}", step=step) for step in steps]
    if part.layout != "1d" or part.token_range[0] == part.token_range[1]:
        return [Setting("all codes")]
    low, count = part.token_range
    found = [Setting(f"{count} tokens", num_tokens=count)]
    while (count := count // 2) >= low:
        found.append(Setting(f"{count} tokens", num_tokens=count))
    return found


@torch.inference_mode()
def point(
    tokenizer: Tokenizer, pictures: CodedSet, setting: Setting, folder: Path, protocol: EvaluationProtocol
) -> RatePoint:
    """Measure one setting; its file stays in ``folder``.

    Raises:
        NotComputedError: if the latent cannot be coded so.
        EvaluationError: if the file does not give back what was written, bit for bit.
    """
    part = tokenizer.spec.z
    fitting, latents = (
        [
            latent if setting.num_tokens is None else first_tokens(latent, setting.num_tokens)
            for latent in given
        ]
        for given in (pictures.fitting, pictures.latents)
    )
    code: Code = (
        IndexCode.fit(part, fitting) if setting.step is None else ValueCode.fit(fitting, setting.step)
    )
    rows = [picture for latent in latents for picture in code.rows(latent)]
    path = folder / setting.file
    path.parent.mkdir(parents=True, exist_ok=True)
    coded = file.Coded(
        tuple(coder.encode(picture, code.tables) for picture in rows),
        code.tables,
        _about(setting, code, rows[0]),
    )
    file_bytes = file.write(path, coded)
    arrived = _read_back(path, rows)
    panel = Panel(METRICS, protocol, WeightsConfig(), CPU)
    first = 0
    for real, latent in zip(pictures.batches, latents, strict=True):
        x_hat = tokenizer.decode(code.latent(arrived[first : first + len(real)], latent))
        panel.update(real, x_hat)
        first += len(real)
    return _point(setting, panel, coded, rows, pictures.real, file_bytes)


def _about(setting: Setting, code: Code, rows: Sequence[coder.Row]) -> dict[str, object]:
    low = code.low.tolist() if isinstance(code, ValueCode) else []
    return {
        "setting": setting.name,
        "step": setting.step,
        "low": low,
        "row_lengths": [len(row) for row in rows],
    }


def _read_back(path: Path, rows: Sequence[Sequence[coder.Row]]) -> list[list[coder.Row]]:
    """The symbols from the file alone.

    Raises:
        EvaluationError: if they are not those that were written.
    """
    stored = file.read(path)
    lengths = stored.about["row_lengths"]
    arrived = [coder.decode(stream, stored.tables, lengths) for stream in stored.streams]
    for number, (sent, got) in enumerate(zip(rows, arrived, strict=True)):
        if not all(np.array_equal(first, second) for first, second in zip(sent, got, strict=True)):
            raise EvaluationError(f"{path}: picture {number} does not come back bit for bit")
    return arrived


def _point(
    setting: Setting,
    panel: Panel,
    coded: file.Coded,
    rows: Sequence[Sequence[coder.Row]],
    real: Tensor,
    file_bytes: int,
) -> RatePoint:
    pixels = math.prod(real.shape[-2:])
    rates = [8.0 * count / pixels for count in coded.picture_bytes()]
    interval = panel.protocol.interval
    entries, _ = panel.compute()
    psnr, ssim = (entries[name] for name in METRICS)
    if not isinstance(psnr, Computed) or not isinstance(ssim, Computed):
        raise NotComputedError("PSNR and SSIM", "under another protocol")
    fixed = sum(
        len(row) * math.log2(len(frequencies)) for row, frequencies in zip(rows[0], coded.tables, strict=True)
    )
    ideal = sum(coder.ideal_bits(picture, coded.tables) for picture in rows) / len(rows)
    return RatePoint(
        setting=setting.name,
        bits_per_pixel=math.fsum(rates) / len(rates),
        bits_per_pixel_ci95=bootstrap_mean(rates, resamples=interval.resamples, seed=interval.seed),
        ideal_bits_per_pixel=ideal / pixels,
        fixed_bits_per_pixel=fixed / pixels,
        psnr=psnr.value,
        psnr_ci95=psnr.ci95,
        ssim=ssim.value,
        ssim_ci95=ssim.ci95,
        file=setting.file,
        file_bytes=file_bytes,
        table_bytes=coded.table_bytes,
    )
