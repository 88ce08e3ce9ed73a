"""What the parts of a measurement share: models, requests, the split of the cores, and the ways to start things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from diffusion import model_folder
from eval import machine
from eval.contenders import RANDOM, TOKENIZER_PRESETS
from eval.errors import EvaluationError
from eval.serving import bodies, servers
from eval.serving.bare import BarePlan
from eval.serving.cores import Cores, available, split
from eval.serving.free_model import save_free_tokenizer, save_random_tokenizer
from eval.serving.load import Asked, Plan
from eval.serving.processes import HOST, Running, Server, run_bare
from eval.serving.work import Operation, WorkConfig
from tokenizer import loading
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.core.config import find_preset
from tokenizer.spec import LatentSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.serving.bare import BareReport
    from eval.serving.settings import Peer, ServingConfig

# Names under which our server has the models.
MEASURED, FREE, GENERATOR = "measured", "free", "made"


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the command.

    Attributes:
        config: what was asked for.
        folder: for bodies, logs and models that are made here.
        cores: who may run where.
        tokenizer, free, generator: model folders.
        device, dtype: of every network.
    """

    config: ServingConfig
    folder: Path
    cores: Cores
    tokenizer: Path
    free: Path
    generator: Path | None
    device: str
    dtype: str

    @classmethod
    def open(cls, config: ServingConfig) -> Session:
        """Find or make the models.

        Raises:
            EvaluationError: a source does not load, or the generator belongs to another tokenizer.
        """
        folder = config.out / "work"
        folder.mkdir(parents=True, exist_ok=True)
        free = save_free_tokenizer(folder / "free")
        try:
            tokenizer = _tokenizer(config.tokenizer, free, folder)
            generator = model_folder.find(config.generator) if config.generator else None
            device = machine.pick_device(config.device)
        except ValueError as error:
            raise EvaluationError(str(error)) from error
        dtype = config.dtype
        if dtype == "auto":
            dtype = "bfloat16" if device.type == "cuda" else "float32"
        session = cls(
            config, folder, split(available(), config.threads), tokenizer, free, generator, str(device), dtype
        )
        if generator is not None:
            session.require_fit(generator)
        return session

    def require_fit(self, generator: Path) -> None:
        """Refuse a generator of another latent space."""
        belongs = checkpoint.read_config(generator)["spec_id"]
        if belongs != spec_id_of(self.tokenizer):
            raise EvaluationError(
                f"generator={self.config.generator} belongs to spec {belongs}, tokenizer={self.config.tokenizer} is "
                f"{spec_id_of(self.tokenizer)}: name the tokenizer that its latents were made with, or generator=null"
            )

    def work(self, operation: Operation, *, free: bool = False, output: str = "jpeg") -> WorkConfig:
        """An operation over the measured model, or over the free one."""
        return WorkConfig.parse(
            {
                "operation": operation,
                "tokenizer": self.free if free else self.tokenizer,
                "generator": self.generator if operation == "generate" else None,
                "output": output,
                "num_steps": self.config.num_steps,
                "guidance": self.config.guidance,
                "device": self.device,
                "dtype": self.dtype,
                "threads": self.cores.threads,
                "max_batch": self.config.max_batch,
            }
        )

    def requests(self, work: WorkConfig, *, side: int | None = None, raw: bool = False) -> list[Asked]:
        """Requests of an operation, without their target."""
        config = checkpoint.read_config(work.tokenizer)
        return bodies.requests(
            work,
            self.folder,
            side=side or self.config.resolution,
            spec_id=spec_id_of(work.tokenizer),
            config=config,
            raw=raw,
            seed=self.config.seed,
        )

    def for_ours(self, work: WorkConfig, requests: list[Asked]) -> list[Asked]:
        """The same requests, sent to our route."""
        model = FREE if work.tokenizer == self.free and work.tokenizer != self.tokenizer else MEASURED
        return servers.aimed(requests, servers.target_of(work, model))

    def ours(self, **settings: object) -> Running:
        """Our server over all models, as a context; ``settings`` as in service/README.md."""
        models = {MEASURED: self.tokenizer}
        if self.free != self.tokenizer:
            models[FREE] = self.free
        if self.generator is not None:
            models[GENERATOR] = self.generator
        given = {"device": self.device, "dtype": self.dtype, "max_batch": self.config.max_batch, **settings}
        return self._running(servers.ours(models, given))

    def peer(self, name: Peer, work: WorkConfig, requests: list[Asked]) -> Running:
        """Another server over one operation, as a context."""
        return self._running(servers.peer(name, work, requests[0], self.folder))

    def bare(self, plans: Sequence[BarePlan]) -> list[BareReport]:
        """The bare loop."""
        return run_bare(plans, self.cores)

    def bare_plan(
        self, work: WorkConfig, requests: list[Asked], *, calls: int = 0, batches: bool = True
    ) -> BarePlan:
        """The bare loop over the bodies of these requests: its throughput, or single calls."""
        cap = self.config.max_batch
        sizes = sorted({1, max(1, cap // 4), cap}) if batches else []
        return BarePlan.parse(
            {
                "work": work.model_dump(),
                "bodies": [asked.body for asked in requests],
                "batch_sizes": sizes,
                "calls": calls,
                "seconds": self.config.seconds / 2,
            }
        )

    def closed(self, requests: list[Asked], connections: int) -> Plan:
        """Each connection sends its next request when it has its answer."""
        seconds = self.config.warmup_s + self.config.seconds
        return Plan(HOST, 0, requests, "closed", connections, seconds=seconds)

    def open_loop(self, requests: list[Asked], rate: float, drain_s: float = 10.0) -> Plan:
        """Requests come as a Poisson process, whatever the answers do."""
        seconds = self.config.warmup_s + self.config.seconds
        return Plan(
            HOST, 0, requests, "open", rate=rate, seconds=seconds, drain_s=drain_s, seed=self.config.seed
        )

    def probe(self, seconds: float, every_s: float = 0.02) -> Plan:
        """GET /health/live at even distances."""
        asked = [Asked("/health/live", None, {}, "GET")]
        return Plan(HOST, 0, asked, "open", every_s=every_s, seconds=seconds)

    def _running(self, server: Server) -> Running:
        name = "".join(letter if letter.isalnum() else "-" for letter in server.name.lower())
        return Running(server, self.cores, self.folder / f"{name}.log")


def spec_id_of(folder: Path) -> str:
    """Of a tokenizer folder."""
    spec = LatentSpec.parse(checkpoint.read_config(folder)["spec"])
    return spec.spec_id(checkpoint.weights_sha256(folder))


def _tokenizer(source: str, free: Path, folder: Path) -> Path:
    if source == FREE:
        return free
    if source.startswith(RANDOM):
        preset = find_preset(source.removeprefix(RANDOM), TOKENIZER_PRESETS)
        config = TokenizerConfig.parse(yaml.safe_load(preset.read_text())["model"])
        return save_random_tokenizer(folder / "random", config)
    return loading.find(source)
