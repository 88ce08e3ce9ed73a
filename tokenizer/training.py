"""What a training run is, as data: pictures, phases, and how often it shows and saves."""

from pathlib import Path

from pydantic import Field, model_validator

from tokenizer.clusters import ClustersConfig
from tokenizer.config import TokenizerConfig
from tokenizer.core.config import Config
from tokenizer.core.optim import OptimConfig
from tokenizer.core.run import Precision
from tokenizer.data.settings import DataConfig
from tokenizer.losses import LossConfig
from tokenizer.losses.adversarial import AdversaryConfig
from tokenizer.losses.pixel import L1Config
from tokenizer.regularizers import RegularizerConfig


class Phase(Config):
    """One stretch of training: at what size, for how long, which parameters, towards what."""

    name: str = "train"
    resolution: int = Field(ge=8, description="side of the square crops in pixels")
    frames: int | None = Field(
        default=None,
        ge=1,
        description="frames of a clip; none: pictures, for a family of clips those of one frame",
    )
    images: int = Field(ge=1, description="pictures, or clips")
    batch: int = Field(ge=1, description="images in a step, over all processes")
    accumulate: int = Field(default=1, ge=1, description="micro-batches in a step")
    train: tuple[str, ...] = Field(default=("*",), description="patterns of the parameters that move")
    losses: tuple[LossConfig, ...] = (L1Config(),)
    regularizers: tuple[RegularizerConfig, ...] = ()
    adversary: AdversaryConfig | None = None
    clusters: ClustersConfig | None = Field(
        default=None,
        description="first put the codes of bottleneck vq to the centres of the encoder's features",
    )
    optim: OptimConfig | None = Field(default=None, description="instead of the run's")
    sample: bool = Field(default=True, description="draw from the posterior where there is one")

    @property
    def span(self) -> int:
        """Images in whole steps: ``images``, rounded up to the batch."""
        return -(-self.images // self.batch) * self.batch


class TrainConfig(Config):
    """Train a tokenizer through its phases."""

    out: Path = Field(description="folder of the run; the same command again goes on where it stopped")
    data: DataConfig
    model: TokenizerConfig | None = Field(
        default=None, description="fresh weights of this model; or see init"
    )
    init: str | None = Field(
        default=None, description="tokenizer to start from: a folder, hf:org/name, a bundled name"
    )
    phases: tuple[Phase, ...]
    optim: OptimConfig = OptimConfig()
    ema_half_life: float = Field(default=500_000, gt=0, description="in images")
    statistics_images: int = Field(
        default=2048, ge=1, description="pictures that the latent statistics are taken over"
    )
    precision: Precision = "fp32"
    recompute: bool = Field(
        default=False, description="activations are recomputed in the backward pass: less memory, slower"
    )
    compile: bool = Field(default=False, description="torch.compile encoder and decoder")
    channels_last: bool = Field(
        default=False, description="kernels in memory channels last: faster convolutions, mostly in bf16"
    )
    deterministic: bool = Field(default=False, description="bit-exact on CUDA too, slower")
    seed: int = 0
    log_every: int = Field(default=1_000, ge=0, description="in images; 0: never; as are the next two")
    show_every: int = Field(default=20_000, ge=0)
    save_every: int = Field(default=20_000, ge=0)
    keep: int = Field(default=2, ge=1, description="checkpoints that stay")

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if (self.model is None) == (self.init is None):
            raise ValueError("give either model (fresh weights) or init (a tokenizer to start from)")
        if not self.phases:
            raise ValueError("a run needs at least one phase")
        for phase in self.phases:
            if phase.batch % phase.accumulate:
                raise ValueError(f"phase {phase.name!r}: batch must be a multiple of accumulate")
        return self
