"""What a request may say of decoding. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a latent is decoded; None leaves it to the tokenizer.

    Attributes:
        num_tokens: the first so many of a row of tokens.
        num_steps: of a decoder that draws the pixels.
        seed: of its noise; always the same noise without it.
    """

    num_tokens: int | None = None
    num_steps: int | None = None
    seed: int | None = None

    def pass_name(self, name: str) -> str:
        """What the costs of its passes are kept under: warm-up measures the tokenizer's own number of steps alone."""
        return name if self.num_steps is None else f"{name} in {self.num_steps} steps"


AS_IT_IS = Decoding()
