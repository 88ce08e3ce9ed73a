"""Every family of encoder and decoder. A new one is a file here, a member of the union, and a test.

A backbone's configuration (``BackboneSettings``) has ``latent_channels``, ``spatial_factor``,
``build_encoder(out_channels)`` and ``build_decoder()``; where the latent is a row of tokens, ``num_tokens``, and its
decoder takes the picture's size too (with ``allocation`` its encoder the number of tokens); if its latent can lose
channels, ``latent_layers()`` (``tokenizer/slice.py``). A decoder that draws the pixels is a ``SamplingDecoder``
(``layers/sampling.py``), and its configuration gives ``num_steps``. Both networks have ``blocks()``, the modules whose
activations may be recomputed in the backward pass (``layers/recompute.py``): most of the network, none of them inside
another.
"""

from typing import Annotated

from pydantic import Field

from tokenizer.backbones.alit import ALITConfig
from tokenizer.backbones.causal3d import Causal3DConfig
from tokenizer.backbones.dcae import DCAEConfig
from tokenizer.backbones.dcae_video import DCAEVideoConfig
from tokenizer.backbones.epsilon_vae import EpsilonVAEConfig
from tokenizer.backbones.fae import FAEConfig
from tokenizer.backbones.gigatok import GigaTokConfig
from tokenizer.backbones.kl import KLBackboneConfig
from tokenizer.backbones.leanvae import LeanVAEConfig
from tokenizer.backbones.litevae import LiteVAEConfig
from tokenizer.backbones.qgvae import QGVAEConfig
from tokenizer.backbones.query1d import Query1DConfig
from tokenizer.backbones.semanticist import SemanticistConfig
from tokenizer.backbones.swycc import SWYCCConfig
from tokenizer.backbones.taesd import TAESDConfig
from tokenizer.backbones.vidtok import VidTokConfig
from tokenizer.backbones.vit import ViTConfig
from tokenizer.backbones.vqgan import VQGANConfig
from tokenizer.backbones.vqgan_plus import VQGANPlusConfig
from tokenizer.backbones.wfvae import WFVAEConfig

BackboneConfig = Annotated[
    ALITConfig
    | Causal3DConfig
    | DCAEConfig
    | DCAEVideoConfig
    | EpsilonVAEConfig
    | FAEConfig
    | GigaTokConfig
    | KLBackboneConfig
    | LeanVAEConfig
    | LiteVAEConfig
    | QGVAEConfig
    | Query1DConfig
    | SemanticistConfig
    | SWYCCConfig
    | TAESDConfig
    | VidTokConfig
    | ViTConfig
    | VQGANConfig
    | VQGANPlusConfig
    | WFVAEConfig,
    Field(discriminator="kind"),
]

__all__ = ["BackboneConfig"]
