"""Every family of encoder and decoder. A new one is a file here, a member of the union, and a test."""

from typing import Annotated

from pydantic import Field

from tokenizer.backbones.dcae import DCAEConfig
from tokenizer.backbones.kl import KLBackboneConfig
from tokenizer.backbones.vit import ViTConfig

BackboneConfig = Annotated[DCAEConfig | KLBackboneConfig | ViTConfig, Field(discriminator="kind")]

__all__ = ["BackboneConfig"]
