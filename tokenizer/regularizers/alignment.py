"""Alignment to a frozen encoder: a head must tell its patch features from the latent or from a layer of ours.

Letters: B batch, C channels, N latent tokens, L patches of the frozen encoder.
"""

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from tokenizer.layers.frozen import Frozen, FrozenConfig
from tokenizer.layers.heads import as_tokens, mlp, spread
from tokenizer.layers.precision import full_precision
from tokenizer.model import StepOutput
from tokenizer.regularizers.base import Encode, Regularizer, RegularizerSettings
from tokenizer.spec import PartSpec

Match = Literal["patches", "mean"]


class Alignment(Regularizer):
    """1 - cos(head(ours), frozen(x)), mean over patches; no gradient reaches the frozen encoder.

    A latent that is a row of N tokens is spread over the patches: each token answers for L / N of them in order.

    Args:
        frozen: whose features.
        channels: of ours.
        hidden: width inside the head.
        layer: of the model, whose outputs (B, L, C) or (B, C, H', W') are aligned; None: the latent.
        match: ``patches`` one by one, or the ``mean`` over all of them.

    Source: Chen et al. 2024, SoftVQ-VAE, arXiv 2412.10958, section 3.3 (the latent, repeated tokens); Xiong et al.
    2025, GigaTok, arXiv 2504.08736, section 3.2 (a layer of the decoder); head: REPA, arXiv 2410.06940.
    """

    def __init__(
        self, frozen: Frozen, channels: int, hidden: int, layer: str | None = None, match: Match = "patches"
    ) -> None:
        super().__init__()
        self.frozen = frozen
        self.layer = layer
        self.layers = () if layer is None else (layer,)
        self.match: Match = match
        self.head = mlp(channels, hidden, frozen.channels)

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor:
        """Scalar from 0 to 2."""
        x = step.target
        with full_precision(x.device):
            if self.layer is None and step.bottleneck.z.ndim == 3:
                ours = step.bottleneck.z.float().transpose(1, 2)  # (B, N, C)
                grid: tuple[int, ...] = (
                    max(1, x.shape[2] // self.frozen.patch),
                    max(1, x.shape[3] // self.frozen.patch),
                )
            else:
                features = step.bottleneck.z if self.layer is None else step.extras[self.layer]
                ours, grid = as_tokens(features.float(), tuple(x.shape[2:]))
            wanted = self.frozen(x, grid).flatten(2).transpose(1, 2)  # (B, L, C)
            if self.match == "mean":
                ours, wanted = ours.mean(dim=1, keepdim=True), wanted.mean(dim=1, keepdim=True)
            told = spread(self.head(ours), wanted.shape[1])
            return (1.0 - F.cosine_similarity(told, wanted, dim=-1)).mean()


class AlignmentConfig(RegularizerSettings):
    """Latent or layer told to match a frozen encoder's features (SoftVQ-VAE, arXiv 2412.10958; GigaTok, 2504.08736)."""

    kind: Literal["alignment"] = "alignment"
    frozen: FrozenConfig
    layer: str | None = Field(default=None, description="of the model, by name; none: the latent")
    layer_channels: int | None = Field(default=None, ge=1, description="of that layer's outputs")
    hidden: int = Field(default=1024, ge=1, description="width inside the head")
    match: Match = Field(default="patches", description="patch by patch, or the mean over patches")

    @model_validator(mode="after")
    def _consistent(self) -> "AlignmentConfig":
        if (self.layer is None) != (self.layer_channels is None):
            raise ValueError("layer and layer_channels belong together: give both, or neither for the latent")
        return self

    def build(self, part: PartSpec) -> Alignment:
        """The regularizer.

        Raises:
            ValueError: if the frozen encoder's files are missing.
        """
        channels = self.layer_channels or part.channels
        return Alignment(self.frozen.open(), channels, self.hidden, self.layer, self.match)
