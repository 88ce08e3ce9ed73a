"""What a training run of a generator is, as data."""

from pathlib import Path

from pydantic import Field, model_validator

from diffusion.backbones import DenoiserConfig
from diffusion.generators import GeneratorConfig
from diffusion.samplers import SamplerName
from tokenizer.core.config import Config
from tokenizer.core.optim import OptimConfig
from tokenizer.core.run import Precision

# Places on one machine, which a checkpoint does not tell.
PLACES = ("latents", "validation", "out", "tokenizer", "init")
# What a resumed run may change besides: it shows, saves and reads, and moves no weight.
FREE = ("num_workers", "show", "log_every", "show_every", "save_every", "keep")


class ShowConfig(Config):
    """The grid of samples that a run draws from its averaged weights, one column a class."""

    rows: int = Field(default=4, ge=1, description="samples of each class")
    max_classes: int = Field(default=10, ge=1)
    num_steps: int = Field(default=50, ge=1)
    guidance: float = 2.0
    sampler: SamplerName = "euler"
    validation_latents: int = Field(default=512, ge=1, description="at most, for the validation loss")


class TrainConfig(Config):
    """Train a generator on cached latents."""

    latents: Path = Field(description="folder made by diffusion.latents")
    validation: Path | None = Field(default=None, description="another one, whose loss is logged")
    out: Path = Field(description="folder of the run; the same command again goes on where it stopped")
    tokenizer: str | None = Field(default=None, description="decodes the sample grids; none: no grids")
    init: str | None = Field(
        default=None, description="weights to start from: a generator's folder or a DiTTransformer2DModel's"
    )
    model: DenoiserConfig
    generator: GeneratorConfig = GeneratorConfig()
    optim: OptimConfig = OptimConfig()
    images: int = Field(ge=1, description="latents to train on in all, counting repetitions")
    batch: int = Field(ge=1, description="latents in a step, over all processes")
    accumulate: int = Field(default=1, ge=1, description="micro-batches in a step")
    ema_half_life: float = Field(default=500_000, gt=0, description="in images")
    precision: Precision = "fp32"
    compile: bool = Field(default=False, description="torch.compile the network")
    deterministic: bool = Field(default=False, description="bit-exact on CUDA too, slower")
    seed: int = 0
    num_workers: int = Field(default=0, ge=0, description="processes that read latents")
    show: ShowConfig = ShowConfig()
    log_every: int = Field(default=10_000, ge=0, description="in images; 0: never; as are the next two")
    show_every: int = Field(default=200_000, ge=0)
    save_every: int = Field(default=200_000, ge=0)
    keep: int = Field(default=2, ge=1, description="checkpoints that stay")

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.batch % self.accumulate:
            raise ValueError("batch must be a multiple of accumulate")
        return self

    def preset(self) -> dict[str, object]:
        """The settings without places, as a checkpoint keeps them."""
        return self.model_dump(mode="json", exclude=set(PLACES))
