"""Where regularizers act in a training pass, and that none of them is a plain pass."""

import pytest
import torch
from torch import Tensor

from tokenizer.config import TokenizerConfig
from tokenizer.model import StepOutput
from tokenizer.regularizers import build_regularizers, total_penalty
from tokenizer.regularizers.base import Draw, Encode, Regularized, Regularizer
from tokenizer.regularizers.noise import LatentNoiseConfig
from tokenizer.spec import PartSpec

DRAW = Draw(keys=torch.tensor([11, 12]), step=5)


class Everywhere(Regularizer):
    """Turns the pixels around, halves the latent and asks for its mean to vanish."""

    def prepare(self, x: Tensor, draw: Draw) -> Tensor:
        return x.flip(-1)

    def perturb(self, z: Tensor, x: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        return 0.5 * z, x + 1.0

    def penalty(self, step: StepOutput, encode: Encode) -> Tensor | None:
        return (encode(step.target - 1.0) - 2.0 * step.z).square().mean()


def test_without_regularizers_it_is_the_plain_pass(tiny_config: TokenizerConfig) -> None:
    torch.manual_seed(0)
    model = tiny_config.build()
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    step, plain = Regularized(model, {})(x, DRAW), model(x)
    assert torch.equal(step.x_hat, plain.x_hat)
    assert torch.equal(step.z, plain.z)
    assert torch.equal(step.target, x)
    assert step.penalties == {}


def test_each_place_is_where_it_says(tiny_config: TokenizerConfig) -> None:
    torch.manual_seed(0)
    model = tiny_config.build()
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    step = Regularized(model, {"everywhere": Everywhere()})(x, DRAW)
    z = model(x.flip(-1)).z
    assert torch.allclose(step.z, 0.5 * z)
    assert torch.allclose(step.x_hat, model.decoder(0.5 * z))
    assert torch.equal(step.target, x.flip(-1) + 1.0)
    assert step.penalties["everywhere"].item() == pytest.approx(0.0, abs=1e-10)
    assert torch.equal(step.keys, DRAW.keys)  # type: ignore[arg-type]  # it is a training pass
    assert model.bottleneck.training


def test_penalties_are_weighted_and_kinds_named_once() -> None:
    configs = [LatentNoiseConfig(weight=3.0)]
    step = StepOutput(
        torch.zeros(1), torch.zeros(1), None, torch.zeros(1), penalties={"latent_noise": torch.tensor(2.0)}
    )  # type: ignore[arg-type]  # the bottleneck is not looked at
    assert float(total_penalty(configs, step)) == 6.0
    with pytest.raises(ValueError, match="must not name a kind twice"):
        build_regularizers(configs * 2, PartSpec(channels=4))
