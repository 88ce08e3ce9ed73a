"""Every loss of the autoencoder. A new one is a file here, a member of the union, and a test."""

from typing import Annotated

from pydantic import Field

from tokenizer.losses.bottleneck import BottleneckLossConfig
from tokenizer.losses.distribution import MMDConfig, SlicedWassersteinConfig
from tokenizer.losses.features import FeaturesConfig
from tokenizer.losses.flow import FlowConfig
from tokenizer.losses.perceptual import LPIPSConfig
from tokenizer.losses.pixel import L1Config, L2Config
from tokenizer.losses.wavelet import WaveletConfig

LossConfig = Annotated[
    L1Config
    | L2Config
    | LPIPSConfig
    | FeaturesConfig
    | FlowConfig
    | WaveletConfig
    | BottleneckLossConfig
    | MMDConfig
    | SlicedWassersteinConfig,
    Field(discriminator="kind"),
]

__all__ = ["LossConfig"]
