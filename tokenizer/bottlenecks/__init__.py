"""Every kind of bottleneck. A new one is a file here, a member of the union, and a test."""

from typing import Annotated

from pydantic import Field

from tokenizer.bottlenecks.binary import BernoulliConfig
from tokenizer.bottlenecks.bsq import BSQConfig
from tokenizer.bottlenecks.fsq import FSQConfig
from tokenizer.bottlenecks.ibq import IBQConfig
from tokenizer.bottlenecks.identity import IdentityConfig
from tokenizer.bottlenecks.kl import KLConfig
from tokenizer.bottlenecks.lfq import LFQConfig
from tokenizer.bottlenecks.multichannel_vq import MultichannelVQConfig
from tokenizer.bottlenecks.multiscale_vq import MultiscaleVQConfig
from tokenizer.bottlenecks.residual_vq import ResidualVQConfig
from tokenizer.bottlenecks.sigma_vae import SigmaVAEConfig
from tokenizer.bottlenecks.simvq import SimVQConfig
from tokenizer.bottlenecks.softvq import SoftVQConfig
from tokenizer.bottlenecks.token_vq import TokenVQConfig
from tokenizer.bottlenecks.vq import VQConfig
from tokenizer.bottlenecks.vq_wae import VQWAEConfig

BottleneckConfig = Annotated[
    BernoulliConfig
    | BSQConfig
    | FSQConfig
    | IBQConfig
    | IdentityConfig
    | KLConfig
    | LFQConfig
    | MultichannelVQConfig
    | MultiscaleVQConfig
    | ResidualVQConfig
    | SigmaVAEConfig
    | SimVQConfig
    | SoftVQConfig
    | TokenVQConfig
    | VQConfig
    | VQWAEConfig,
    Field(discriminator="kind"),
]

__all__ = ["BottleneckConfig"]
