"""The prior guesses from what came before alone, teaches the encoder through what it reads, and learns an order."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import tokenizer
from tokenizer.bottlenecks.base import BottleneckOutput
from tokenizer.core.config import find_preset
from tokenizer.model import StepOutput
from tokenizer.regularizers.ar_prior import ARPrior, ARPriorConfig
from tokenizer.regularizers.base import Regularizer
from tokenizer.spec import PartSpec
from tokenizer.training import TrainConfig

PRESETS = Path(tokenizer.__file__).parent / "configs"
CODES, CHANNELS, TOKENS = 6, 4, 5


def build(**changes: float) -> ARPrior:
    torch.manual_seed(0)
    settings = {"width": 16, "depth": 1, "heads": 2, "mixed": 0.0, "ramp_images": 0} | changes
    return ARPrior(CHANNELS, CODES, TOKENS, **settings)  # type: ignore[arg-type]  # numbers of every kind


def book() -> Tensor:
    return torch.randn(CODES, CHANNELS, generator=torch.Generator().manual_seed(1))


def step(indices: Tensor, *, keys: Tensor | None = None) -> tuple[StepOutput, Tensor]:
    """A training pass whose z are these codes; z with its gradient."""
    z = book()[indices].movedim(-1, 1).clone().requires_grad_()
    bottleneck = BottleneckOutput(z=z, loss=torch.zeros(()), indices=indices)
    x = torch.zeros(len(indices), 3, 8, 8)
    return StepOutput(x_hat=x, z=z, bottleneck=bottleneck, target=x, keys=keys), z


def encode(x: Tensor) -> Tensor:
    raise AssertionError("a prior does not encode again")


def drawn(batch: int = 3) -> Tensor:
    return torch.randint(CODES, (batch, TOKENS), generator=torch.Generator().manual_seed(2))


def value(prior: Regularizer, given: StepOutput) -> Tensor:
    found = prior.penalty(given, encode)
    assert found is not None
    return found


def test_a_score_depends_on_the_codes_before_it_alone() -> None:
    prior, z = build(), torch.randn(2, TOKENS, CHANNELS)
    base = prior.logits(z)
    assert base.shape == (2, TOKENS - 1, CODES)
    for place in range(TOKENS):
        other = z.clone()
        other[:, place] += 1.0
        moved = (prior.logits(other) - base).abs().amax(dim=(0, 2)) > 1e-6
        assert moved.tolist() == [index >= place for index in range(TOKENS - 1)]


def test_the_penalty_is_the_mean_cross_entropy_of_the_next_code() -> None:
    prior, indices = build(), drawn()
    given, z = step(indices)
    loss = value(prior, given)
    scores = prior.logits(z.transpose(1, 2))
    expected = -F.log_softmax(scores, dim=2).gather(2, indices[:, 1:, None]).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert z.grad is not None
    reached = z.grad.abs().amax(dim=(0, 1)) > 0
    assert reached.tolist() == [True] * (TOKENS - 1) + [False]  # the last code is guessed and never read


def test_an_order_is_learned_and_noise_is_not() -> None:
    """Codes that count up are certain after the first; random ones stay at log K."""
    counting = (torch.arange(TOKENS) + torch.arange(CODES)[:, None]) % CODES
    prior = build()
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        loss = value(prior, step(counting)[0])
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1
    random = torch.randint(CODES, (200, TOKENS), generator=torch.Generator().manual_seed(3))
    assert float(value(prior, step(random)[0]).detach()) > math.log(CODES)


def test_the_second_round_reads_the_priors_own_codes_in_a_growing_share() -> None:
    prior, indices = build(mixed=0.5, ramp_images=12), drawn(batch=4)
    prior.train()
    shares = []
    for _ in range(4):
        shares.append(prior.share)
        value(prior, step(indices, keys=torch.arange(4))[0])
    assert shares == pytest.approx([0.0, 0.5 / 3, 1.0 / 3, 0.5])
    assert torch.equal(prior.codes[indices.unique()], book()[indices.unique()])
    scores = torch.randn(400, TOKENS - 1, CODES, generator=torch.Generator().manual_seed(4))
    codes, replaced = prior._drawn(scores, torch.arange(400))
    again, _ = prior._drawn(scores[:3], torch.arange(3))
    assert torch.equal(codes[:3], again)  # a sample's draw is its key's
    assert float(replaced.float().mean()) == pytest.approx(0.5, abs=0.05)
    expected = scores.softmax(dim=2).mean(dim=(0, 1))
    counted = torch.bincount(codes.flatten(), minlength=CODES) / codes.numel()
    torch.testing.assert_close(counted, expected, atol=0.03, rtol=0.0)


def test_what_it_remembers_is_kept_with_its_phase() -> None:
    prior, other = build(mixed=0.5, ramp_images=100), build(mixed=0.5, ramp_images=100)
    value(prior.train(), step(drawn())[0])
    other.load_state_dict(prior.state_dict())
    assert int(other.images) == 3
    given = step(drawn())[0]
    torch.testing.assert_close(value(other.eval(), given), value(prior.eval(), given))


def test_a_grid_is_read_row_by_row_and_a_single_token_is_left_alone() -> None:
    prior = ARPriorConfig(width=16, depth=1, heads=2, side=3, mixed=0.0).build(
        PartSpec(channels=CHANNELS, codebook_size=CODES)
    )
    grid = torch.randint(CODES, (2, 3, 2), generator=torch.Generator().manual_seed(5))
    row = grid.flatten(1)
    assert torch.allclose(value(prior, step(grid)[0]), value(prior, step(row)[0]), atol=1e-6)
    assert prior.penalty(step(grid[:, :1, :1])[0], encode) is None


def test_latents_that_it_cannot_guess_are_refused() -> None:
    config = ARPriorConfig(width=16, depth=1, heads=2)
    config.check(PartSpec(layout="1d", num_tokens=8, channels=4, codebook_size=16))
    for part, why in (
        (PartSpec(layout="1d", num_tokens=8, channels=4), "latent is continuous"),
        (PartSpec(channels=4, codebook_size=16), "of a grid, give side"),
        (
            PartSpec(layout="1d", num_tokens=8, channels=4, codebook_size=16, num_codebooks=2),
            "several codebooks",
        ),
        (PartSpec(layout="1d", num_tokens=8, channels=4, codebook_size=2**20), "at most 262144"),
    ):
        with pytest.raises(ValueError, match=why):
            config.check(part)
    given, _ = step(drawn())
    continuous = BottleneckOutput(z=given.z, loss=given.bottleneck.loss)
    with pytest.raises(ValueError, match="no codes to guess"):
        build().penalty(StepOutput(given.x_hat, given.z, continuous, given.target), encode)


def test_the_prior_has_the_released_size() -> None:
    """21.7M without the map that scores codes, which the authors do not have, at 1024 tokens of 16 channels."""
    part = PartSpec(layout="1d", num_tokens=1024, channels=16, codebook_size=8192)
    with torch.device("meta"):
        prior = ARPriorConfig().build(part)
    count = sum(
        parameter.numel() for name, parameter in prior.named_parameters() if not name.startswith("score")
    )
    assert count / 1e6 == pytest.approx(21.7, rel=0.02)


def test_the_preset_has_the_released_tokenizers_size() -> None:
    """173M, as its authors tell of LARP-L's tokenizer."""
    config = TrainConfig.load(find_preset("larp_image", PRESETS), ["data.path=pictures", "out=run"])
    assert config.model is not None
    with torch.device("meta"):
        model = config.model.build()
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(173, rel=0.02)
    (prior,) = config.phases[0].regularizers
    prior.check(model.spec.z)
