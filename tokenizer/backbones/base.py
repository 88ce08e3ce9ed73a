"""What the configurations of all backbones share."""

from tokenizer.core.config import Config


class BackboneSettings(Config):
    """A family of encoder and decoder; its latent is a grid unless it says otherwise."""

    @property
    def num_tokens(self) -> int | tuple[int, int] | None:
        """Tokens of a latent that is no grid but a row of them, a number or the fewest and the most."""
        return None
