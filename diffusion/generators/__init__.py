"""Every kind of generator. A new one is a file here, a member of the union, and a test."""

from diffusion.generators.rectified_flow import RectifiedFlow, RectifiedFlowConfig

# A second member makes this Annotated[RectifiedFlowConfig | ..., Field(discriminator="kind")], and Generator
# a protocol with the methods that both have: pydantic takes no union of one.
GeneratorConfig = RectifiedFlowConfig
Generator = RectifiedFlow

__all__ = ["Generator", "GeneratorConfig"]
