"""iFID: how good pictures are that a tokenizer decodes half way between neighbours, which foretells gFID.

``python -m eval.interpolation tokenizer=SOURCE data.path=DIR neighbours.path=TRAINING_PICTURES out=DIR``: the latent
of every picture is moved towards a near latent of the other pictures, decoded, and the set compared with the
originals; ``out/report.json`` has ``ifid`` beside ``rfid`` of the same pictures. Without ``neighbours`` they are
looked for among the pictures themselves, a picture's own left out. All latents of the neighbours lie in memory.
Source: Xu et al. 2026, Making Reconstruction FID Predictive of Diffusion Generation FID, arXiv 2603.05630.

Letters: B pictures, N latents, D values of a latent, K candidates.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from eval import machine
from eval.data import DataConfig, Pictures
from eval.errors import EvaluationError
from eval.machine import Machine
from eval.pixels import from_uint8
from eval.progress import Progress
from eval.protocols import EvaluationProtocol, protocol
from eval.protocols.settings import InterpolationSettings
from eval.report import (
    Computed,
    DataRecord,
    NotComputed,
    Panel,
    ProtocolRecord,
    TokenizerRecord,
    check_required,
    not_computed,
    write_text,
)
from eval.round_trip import with_any_statistics
from eval.weights import WeightsConfig
from tokenizer.core.config import Config, from_cli, refusals
from tokenizer.loading import connect
from tokenizer.model import Autoencoder, Tokenizer
from tokenizer.spec import Latent

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CHUNK = 4096
PARALLEL = 1e-6


class InterpolationConfig(Config):
    """Measure what a tokenizer decodes between neighbouring latents."""

    tokenizer: str = Field(
        description="a model folder, a run, a diffusers folder, a bundled name or a server's URL"
    )
    data: DataConfig = Field(description="the pictures that are moved, and the reference of both distances")
    neighbours: DataConfig | None = Field(
        default=None, description="where near latents are looked for; else in data"
    )
    out: Path = Field(description="folder for report.json")
    protocol: str = "canon-v1"
    require: tuple[Literal["rfid", "ifid"], ...] = Field(default=(), description="without them the job fails")
    weights: WeightsConfig = WeightsConfig()
    batch_size: int = Field(default=16, ge=1)
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    dtype: Literal["float32", "bfloat16"] = "float32"


class InterpolationReport(Config):
    """``report.json`` of the job."""

    format: Literal[1] = 1
    job: Literal["interpolation"] = "interpolation"
    protocol: ProtocolRecord
    num_images: int
    num_neighbours: int
    own_left_out: bool
    data: DataRecord
    neighbours: DataRecord | None
    tokenizer: TokenizerRecord
    metrics: dict[str, Computed | NotComputed]
    machine: Machine
    commit: str | None

    def summary(self) -> str:
        """A few lines for the terminal."""
        lines = [
            f"{self.protocol.name} {self.protocol.hash}, {self.num_images} pictures, "
            f"neighbours among {self.num_neighbours}"
        ]
        for name, entry in self.metrics.items():
            told = (
                f"{entry.value:.4f}   95 % {entry.ci95[0]:.4f} to {entry.ci95[1]:.4f}"
                if isinstance(entry, Computed)
                else f"not computed: needs {entry.not_computed}; put it {entry.put}"
            )
            lines.append(f"  {name:12s} {told}")
        return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    config = from_cli(InterpolationConfig, "eval.interpolation", None, argv)
    with refusals("eval.interpolation"):
        report = run(config)
    sys.stdout.write(report.summary())


def run(config: InterpolationConfig) -> InterpolationReport:
    """Measure and write; returns the report.

    Raises:
        EvaluationError: if the job cannot run as asked, or a picture is corrupt.
    """
    try:
        device = machine.pick_device(config.device)
        pictures = Pictures.open(config.data)
        others = _others(config, pictures)
        named = protocol(config.protocol, pictures.resolution, config.data.on_corrupt)
        panels = {name: Panel(("rfid",), named, config.weights, device) for name in ("rfid", "ifid")}
        wanted: dict[str, NotComputed] = {
            name: panels[name].missing["rfid"] for name in config.require if panels[name].missing
        }
        check_required(config.require, dict.fromkeys(panels), wanted)
        tokenizer = connect(config.tokenizer, device=str(device), dtype=DTYPES[config.dtype])
        config.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise EvaluationError(str(error)) from error
    if isinstance(tokenizer, Autoencoder):
        with_any_statistics(tokenizer)
    walk = _Walk(config, named, tokenizer, device)
    table = walk.table(others or pictures)
    count = walk.measure(pictures, table, panels, own=others is None)
    entries = {
        name.replace("rfid", kind): entry
        for kind, panel in panels.items()
        for name, entry in panel.compute()[0].items()
    }
    report = InterpolationReport(
        protocol=ProtocolRecord.of(named),
        num_images=count,
        num_neighbours=len(table),
        own_left_out=others is None,
        data=DataRecord.of(pictures, count),
        neighbours=None if others is None else DataRecord.of(others, len(table)),
        tokenizer=TokenizerRecord.of(config.tokenizer, tokenizer, config.dtype, None),
        metrics=entries,
        machine=machine.describe(device),
        commit=machine.commit(),
    )
    write_text(
        config.out / "report.json",
        json.dumps(report.model_dump(mode="json"), indent=1, allow_nan=False) + "\n",
    )
    check_required(config.require, entries, not_computed(entries))
    return report


def _others(config: InterpolationConfig, pictures: Pictures) -> Pictures | None:
    if config.neighbours is None:
        return None
    if config.neighbours.resolution not in (None, pictures.resolution):
        raise EvaluationError(
            f"neighbours.resolution={config.neighbours.resolution}: leave it out, it is data's"
        )
    return Pictures.open(config.neighbours.model_copy(update={"resolution": pictures.resolution}))


class _Walk:
    """The passes over the pictures."""

    def __init__(
        self,
        config: InterpolationConfig,
        named: EvaluationProtocol,
        tokenizer: Tokenizer,
        device: torch.device,
    ) -> None:
        self.config = config
        self.protocol = named
        self.tokenizer = tokenizer
        self.device = device
        self.draw = torch.Generator().manual_seed(named.interpolation.seed)

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Latent:
        """The modes of pictures (B, 3, R, R), uint8 or float."""
        x = pictures.to(self.device)
        x = (from_uint8(x) if x.dtype == torch.uint8 else x).to(DTYPES[self.config.dtype])
        return self.tokenizer.encode(x)

    def table(self, pictures: Pictures) -> Tensor:
        """The latents of all pictures, (N, D) float32 on the CPU."""
        rows = []
        with Progress(self.config.out, "neighbours", len(pictures.files)) as bar:
            for batch in pictures.batches(self.protocol, self.config.batch_size, self._workers):
                rows.append(flat(self.encode(batch.data)).cpu())
                bar.update(len(batch.files))
        if not rows:
            raise EvaluationError("none of the pictures can be read")
        return torch.cat(rows)

    @torch.inference_mode()
    def measure(self, pictures: Pictures, table: Tensor, panels: dict[str, Panel], *, own: bool) -> int:
        """Decode every latent and its interpolation, and give both to the panels; how many there were."""
        settings, count = self.protocol.interpolation, 0
        with Progress(self.config.out, "interpolate", len(pictures.files)) as bar:
            for batch in pictures.batches(self.protocol, self.config.batch_size, self._workers):
                latent = self.encode(batch.data)
                rows = flat(latent).cpu()
                places = torch.arange(count, count + len(rows)) if own else None
                near = neighbours(rows, table, settings, self.draw, places)
                moved = unflat(interpolated(rows, near, settings), latent)
                for panel, shown in ((panels["rfid"], latent), (panels["ifid"], moved)):
                    try:
                        panel.update(batch.data, self.tokenizer.decode(shown))
                    except ValueError as error:
                        raise EvaluationError(f"tokenizer={self.config.tokenizer}: {error}") from None
                count += len(rows)
                bar.update(len(batch.files))
        return count

    @property
    def _workers(self) -> int:
        return self.config.data.num_workers


def flat(latent: Latent) -> Tensor:
    """Every part of every latent in one row: (B, D) float32.

    Raises:
        EvaluationError: for a tokenizer that gives indices alone: there is nothing between two of them.
    """
    if not latent.parts:
        raise EvaluationError("this tokenizer gives indices without latents: there is nothing to interpolate")
    return torch.cat([part.flatten(1).float() for part in latent.parts.values()], dim=1)


def unflat(rows: Tensor, like: Latent) -> Latent:
    """Rows (B, D) -> a latent of the same shape as another, without its indices."""
    widths = [part[0].numel() for part in like.parts.values()]
    parts = {
        name: values.view_as(part).to(part)
        for (name, part), values in zip(like.parts.items(), torch.split(rows, widths, dim=1), strict=True)
    }
    return Latent(parts, like.size, like.spec_id)


def neighbours(
    rows: Tensor,
    table: Tensor,
    settings: InterpolationSettings,
    generator: torch.Generator,
    own: Tensor | None = None,
) -> Tensor:
    """For each of the rows (B, D), one of the K nearest of the table (N, D): (B, D).

    Near is by cosine on the way of a sphere and by distance on a straight one; of several candidates one is drawn
    by softmax of the mean squared error, negative.

    Args:
        rows: latents.
        table: where their neighbours are looked for.
        settings: of the protocol.
        generator: of the draw.
        own: places (B,) of the rows in the table themselves, which do not count.

    Raises:
        EvaluationError: if the table is too short.
    """
    count = settings.neighbours
    if len(table) - (own is not None) < count:
        raise EvaluationError(f"{len(table)} pictures are too few for {count} neighbours of each")
    nearness = torch.cat([_nearness(rows, part, settings.path) for part in torch.split(table, CHUNK)], dim=1)
    if own is not None:
        nearness[torch.arange(len(rows)), own] = -torch.inf
    candidates = table[nearness.topk(count, dim=1).indices]  # (B, K, D)
    if count == 1:
        return candidates[:, 0]
    errors = (candidates - rows.unsqueeze(1)).square().mean(dim=2)
    chosen = torch.multinomial((-errors).softmax(dim=1), 1, generator=generator).flatten()
    return candidates[torch.arange(len(rows)), chosen]


def _nearness(rows: Tensor, table: Tensor, path: str) -> Tensor:
    if path == "slerp":
        return torch.nn.functional.normalize(rows, dim=1) @ torch.nn.functional.normalize(table, dim=1).T
    return 2.0 * (rows @ table.T) - table.square().sum(dim=1)  # the row's own square is the same for all


def interpolated(rows: Tensor, near: Tensor, settings: InterpolationSettings) -> Tensor:
    """Between rows (B, D) and their neighbours (B, D), straight or along the arc between their directions."""
    alpha = settings.alpha
    straight = (1.0 - alpha) * rows + alpha * near
    if settings.path == "linear":
        return straight
    cosine = torch.nn.functional.cosine_similarity(rows.double(), near.double(), dim=1).clamp(-1.0, 1.0)
    angle = cosine.arccos().unsqueeze(1)
    sine = angle.sin()
    first, second = ((1.0 - alpha) * angle).sin() / sine, (alpha * angle).sin() / sine
    arc = first * rows.double() + second * near.double()
    return torch.where(sine < PARALLEL, straight.double(), arc).to(rows.dtype)


if __name__ == "__main__":
    main()
