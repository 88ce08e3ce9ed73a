"""What a regularizer is, and the autoencoder that trains with some.

Letters: B batch, C latent channels, S pixels' sides, S' the latent's grid, N patches.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from tokenizer.core.config import Config
from tokenizer.model import Autoencoder, StepOutput, crop_to
from tokenizer.spec import PartSpec

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Draw:
    """Where a regularizer's randomness comes from, so that neither processes nor interruptions change it.

    Attributes:
        keys: (B,) int64, one a sample.
        step: one key for the whole step, the same in all processes.
        factor: what the sides of pictures must stay multiples of.
    """

    keys: Tensor
    step: int
    factor: int = 1


class Regularizer(nn.Module):
    """Acts on a training pass; each of its five places does nothing unless a kind says otherwise.

    ``layers`` are names of the model's modules whose outputs the penalty reads, in the step's extras. Parameters that
    it has (a head that predicts something from the latent) train with the model and are kept in the checkpoints of
    their phase; no model is shipped with them.
    """

    layers: tuple[str, ...] = ()

    def num_tokens(self, draw: Draw) -> int | None:
        """How many tokens an encoder that allocates them shall make in this step; None for the most."""
        return None

    def prepare(self, x: Tensor, draw: Draw) -> Tensor:
        """Pixels x (B, 3, *S) -> pixels before the encoder, and what the decoder must reproduce."""
        return x

    def hide(self, x: Tensor, draw: Draw) -> Tensor | None:
        """Pixels x -> bool (B, N), the patches that the encoder does not see; None: it sees all."""
        return None

    def perturb(self, z: Tensor, x: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Latent z (B, C, *S') and pixels x -> what the decoder reads, and what it must reproduce."""
        return z, x

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor | None:
        """Unweighted scalar, or None; ``encode`` is x -> z, the posterior's mode, with gradient."""
        return None


class RegularizerSettings(Config):
    """What every regularizer's configuration has."""

    weight: float = Field(default=1.0, ge=0, description="of its penalty, where it has one")

    def check(self, part: PartSpec) -> None:
        """ValueError naming the field, where it cannot work on such a latent."""


class Regularized(nn.Module):
    """An autoencoder and the regularizers of a phase: the module that processes wrap and a step calls.

    Args:
        model: the autoencoder.
        regularizers: by kind, applied in order.
    """

    def __init__(self, model: Autoencoder, regularizers: Mapping[str, Regularizer]) -> None:
        super().__init__()
        self.model = model
        self.regularizers = nn.ModuleDict(regularizers)
        self._seen: dict[str, Tensor] | None = None  # outputs of ``layers``, while a pass gathers them
        for name in dict.fromkeys(
            name for regularizer in regularizers.values() for name in regularizer.layers
        ):
            watched(model, name).register_forward_hook(self._keep(name))

    def forward(
        self, x: Tensor, draw: Draw, *, sample: bool = False, noise: Tensor | None = None
    ) -> StepOutput:
        """One training pass; x (B, 3, *S) in [-1, 1], S a multiple of the factors.

        Its extras are the outputs of the layers that regularizers read, by name, and ``hidden``, if patches were.
        """
        regularizers: list[Regularizer] = list(self.regularizers.values())  # type: ignore[arg-type]  # nn.Module's
        for regularizer in regularizers:
            x = regularizer.prepare(x, draw)
        masks = [mask for regularizer in regularizers if (mask := regularizer.hide(x, draw)) is not None]
        hidden = {"hidden": masks[0]} if masks else {}
        asked = [count for regularizer in regularizers if (count := regularizer.num_tokens(draw)) is not None]
        self._seen = {}
        h = self.model.encoder(x, **hidden) if masks else self.model.to_features(x, min(asked, default=None))
        if noise is not None:  # of the pixels' whole size, which ``prepare`` may have made smaller
            noise = crop_to(noise, tuple(h.shape[2:]))
        bottleneck = self.model.bottleneck(h, sample=sample, noise=noise)
        z = bottleneck.z
        for regularizer in regularizers:
            z, x = regularizer.perturb(z, x, draw)
        drawn = self.model.learn_pixels(z, x, draw.keys)
        extras, self._seen = self._seen | hidden | drawn.extras, None
        step = StepOutput(drawn.x_hat, z, bottleneck, target=x, keys=draw.keys, extras=extras)
        penalties = {
            kind: value
            for kind, regularizer in zip(self.regularizers, regularizers, strict=True)
            if (value := regularizer.penalty(step, self.encode)) is not None
        }
        return replace(step, penalties=penalties)

    def _keep(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:  # whatever the layer takes and gives
            if self._seen is not None:
                self._seen[name] = output

        return keep

    def encode(self, x: Tensor) -> Tensor:
        """x (B, 3, *S) -> z, the posterior's mode, raw scale, with gradient.

        The bottleneck is in eval mode meanwhile: a codebook's statistics follow the pictures alone.
        """
        bottleneck = self.model.bottleneck
        mode = bottleneck.training
        bottleneck.eval()
        try:
            z: Tensor = bottleneck(self.model.to_features(x)).z
            return z
        finally:
            bottleneck.train(mode)


def watched(model: nn.Module, name: str) -> nn.Module:
    """The module of that name.

    Raises:
        ValueError: if there is none, naming what is there instead.
    """
    try:
        return model.get_submodule(name)
    except AttributeError:
        known: list[str] = []
        parent, _, _ = name.rpartition(".")
        while parent and not known:
            known = [inner for inner, _ in model.named_modules() if inner.rpartition(".")[0] == parent]
            parent, _, _ = parent.rpartition(".")
        raise ValueError(
            f"the model has no layer {name!r}; near it are {', '.join(known) or 'encoder, bottleneck, decoder'}"
        ) from None
