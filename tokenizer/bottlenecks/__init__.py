"""Every kind of bottleneck. A new one is a file here, a member of the union, and a test."""

from typing import Annotated

from pydantic import Field

from tokenizer.bottlenecks.binary import BernoulliConfig
from tokenizer.bottlenecks.bsq import BSQConfig
from tokenizer.bottlenecks.fsq import FSQConfig
from tokenizer.bottlenecks.identity import IdentityConfig
from tokenizer.bottlenecks.kl import KLConfig
from tokenizer.bottlenecks.lfq import LFQConfig
from tokenizer.bottlenecks.sigma_vae import SigmaVAEConfig

BottleneckConfig = Annotated[
    BernoulliConfig | BSQConfig | FSQConfig | IdentityConfig | KLConfig | LFQConfig | SigmaVAEConfig,
    Field(discriminator="kind"),
]

__all__ = ["BottleneckConfig"]
