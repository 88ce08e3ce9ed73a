"""Every kind of bottleneck. A new one is a file here, a member of the union, and a test."""

from typing import Annotated

from pydantic import Field

from tokenizer.bottlenecks.identity import IdentityConfig
from tokenizer.bottlenecks.kl import KLConfig

BottleneckConfig = Annotated[IdentityConfig | KLConfig, Field(discriminator="kind")]

__all__ = ["BottleneckConfig"]
