"""What the configurations of all backbones share."""

from tokenizer.core.config import Config
from tokenizer.spec import Timeline


class BackboneSettings(Config):
    """A family of encoder and decoder; its latent is a grid unless it says otherwise."""

    @property
    def num_tokens(self) -> int | tuple[int, int] | None:
        """Tokens of a latent that is no grid but a row of them, a number or the fewest and the most."""
        return None

    @property
    def allocation(self) -> int | None:
        """Tokens that a round of the encoder adds, where it is called with the number that it shall make."""
        return None

    @property
    def num_steps(self) -> int | None:
        """Of a decoder that draws the pixels (``layers/sampling.py``), by itself; None of one that computes them."""
        return None

    @property
    def time(self) -> Timeline | None:
        """How a family of clips sees time; None for pictures."""
        return None
