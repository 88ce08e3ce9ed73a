"""What is measured, for how long, and with what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from tokenizer.core.config import Config

PRESETS = Path(__file__).resolve().parents[1] / "configs" / "serving"
Part = Literal["ceiling", "latency", "capacity", "overload", "liveness", "cancel", "soak"]
PARTS: tuple[Part, ...] = ("ceiling", "latency", "capacity", "overload", "liveness", "cancel", "soak")
Measured = Literal["encode", "decode", "generate"]
Peer = Literal["plain", "litserve", "ray"]


class ServingConfig(Config):
    """The service beside the bare network and beside other servers: latency, throughput, overload, memory.

    Every part is kept in `out` when it is done, and done again only when it is named in `only` or its settings changed.
    """

    tokenizer: str = Field(
        "demo", description="any tokenizer source of ours, random:PRESET, or free (no network)"
    )
    generator: str | None = Field("demo", description="a generator of its latent space; none: no generate")
    resolution: int = Field(128, ge=16, description="side of the pictures of encode and decode")
    operations: tuple[Measured, ...] = ("encode", "decode", "generate")
    num_steps: int = Field(20, ge=1, description="of generate")
    guidance: float = Field(2.0, ge=0)
    peers: tuple[Peer, ...] = Field(
        ("plain", "litserve", "ray"), description="other servers; missing ones are named"
    )
    parts: tuple[Part, ...] = Field(PARTS, description="which there are")
    only: tuple[Part, ...] = Field((), description="measure these again, keep the others as they are")
    max_batch: int = Field(16, ge=1, description="cap of every server and of the bare loop")
    arrivals: float = Field(0.8, gt=0, description="of the open loop, as a share of our capacity")
    seconds: float = Field(6.0, gt=0, description="of every load, after its warm-up")
    warmup_s: float = Field(2.0, ge=0)
    calls: int = Field(200, ge=3, description="single requests of a latency")
    soak_minutes: float = Field(2.0, gt=0)
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int | None = Field(
        None, ge=1, description="of the network; by the split of the cores without it"
    )
    seed: int = 0
    out: Path = Field(Path("runs/serving"), description="folder for report.json, report.md, report.html")

    @model_validator(mode="after")
    def _consistent(self) -> ServingConfig:
        if "generate" in self.operations and self.generator is None:
            raise ValueError("operations: generate needs generator=SOURCE, or leave it out of operations")
        unknown = set(self.only) - set(self.parts)
        if unknown:
            raise ValueError(
                f"only: {', '.join(sorted(unknown))} is not among parts ({', '.join(self.parts)})"
            )
        return self

    @property
    def concurrency(self) -> int:
        """Connections of a closed loop that saturates: four batches."""
        return 4 * self.max_batch

    def fingerprint(self) -> dict[str, object]:
        """What decides whether a part that was measured still stands."""
        return self.model_dump(mode="json", exclude={"only", "out", "parts"})
