"""EQ-VAE: one transform of latent and picture a step, nothing to gain where a model is equivariant already."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tokenizer.bottlenecks.identity import Identity
from tokenizer.config import TokenizerConfig
from tokenizer.core.checkpoint import load_tensors
from tokenizer.losses.pixel import L1
from tokenizer.model import Autoencoder
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.regularizers.equivariance import Equivariance, EquivarianceConfig, Plan, resize, smaller, turn
from tokenizer.spec import LatentSpec, PartSpec
from tokenizer.train import train
from tokenizer.training import TrainConfig

GRID = PartSpec(channels=4)


def draw(step: int, factor: int = 4) -> Draw:
    return Draw(keys=torch.tensor([1, 2]), step=step, factor=factor)


def picture(height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def step_where(regularizer: Equivariance, where: str) -> int:
    """A step's key for which the plan acts there."""
    return next(key for key in range(1000) if regularizer.plan(key).where == where)


class Colours(nn.Module):
    """A 1x1 convolution or its inverse: commutes with scaling and turning."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("cd,bdhw->bchw", self.matrix, x)


def test_an_equivariant_autoencoder_pays_nothing() -> None:
    matrix = torch.tensor([[1.0, 0.2, 0.0], [0.0, 1.0, -0.3], [0.5, 0.0, 1.0]])
    model = Autoencoder(Colours(matrix), Identity(3), Colours(matrix.inverse()), LatentSpec.image(3, 1))
    regularizer = EquivarianceConfig(latent_probability=1.0).build(GRID)
    seen = set()
    for key in range(12):
        step = Regularized(model, {"eq_vae": regularizer})(picture(), draw(key, factor=1))
        assert step.target.shape == step.x_hat.shape
        assert L1()(step, step.target).item() < 1e-5
        seen.add(tuple(step.target.shape))
    assert len(seen) > 4


def test_a_model_that_is_not_equivariant_pays() -> None:
    mask = torch.linspace(0.5, 1.5, 32).view(1, 1, 32, 1)  # multiplies rows, and divides them after

    class Rows(nn.Module):
        def __init__(self, power: float) -> None:
            super().__init__()
            self.power = power

        def forward(self, x: Tensor) -> Tensor:
            return x * resize(mask, (x.shape[-2], 1)) ** self.power

    model = Autoencoder(Rows(1.0), Identity(3), Rows(-1.0), LatentSpec.image(3, 1))
    assert L1()(model(picture()), picture()).item() < 1e-6
    regularizer = EquivarianceConfig(latent_probability=1.0).build(GRID)
    step = Regularized(model, {"eq_vae": regularizer})(picture(), draw(0, factor=1))
    assert L1()(step, step.target).item() > 0.01


def test_scale_one_and_no_turn_are_the_identity() -> None:
    x = picture()
    assert torch.equal(resize(x, (32, 48)), x)
    assert torch.equal(turn(x, 0), x)
    assert torch.equal(turn(turn(x, 1), 3), x)
    assert smaller((32, 48), 1.0) == (32, 48)


def test_scaling_and_turning_keep_what_is_flat_and_move_corners() -> None:
    flat = torch.full((1, 2, 8, 8), 0.7)
    torch.testing.assert_close(turn(resize(flat, (3, 5)), 1), torch.full((1, 2, 5, 3), 0.7))
    corner = torch.zeros(1, 1, 4, 4)
    corner[..., 0, 0] = 1.0
    places = [tuple(turn(corner, turns)[0, 0].nonzero()[0].tolist()) for turns in range(4)]
    assert places == [(0, 0), (3, 0), (3, 3), (0, 3)]


def test_video_frames_are_transformed_one_by_one() -> None:
    clip = torch.rand(2, 3, 5, 8, 8)
    small = resize(clip, (4, 6))
    torch.testing.assert_close(small[:, :, 2], resize(clip[:, :, 2], (4, 6)))


def test_latent_and_picture_keep_their_ratio() -> None:
    regularizer = EquivarianceConfig(latent_probability=1.0).build(GRID)
    for key in range(20):
        z, x = regularizer.perturb(torch.zeros(2, 8, 8, 12), picture(), draw(key))
        assert tuple(side * 4 for side in z.shape[-2:]) == tuple(x.shape[-2:])


def test_one_transform_a_step_whoever_is_in_the_batch() -> None:
    regularizer = EquivarianceConfig(latent_probability=1.0).build(GRID)
    z, x = torch.rand(2, 4, 8, 12), picture()
    both_z, both_x = regularizer.perturb(z, x, draw(3))
    torch.manual_seed(99)
    one_z, one_x = regularizer.perturb(z[1:], x[1:], Draw(torch.tensor([77]), 3, 4))
    assert torch.equal(both_z[1:], one_z)
    assert torch.equal(both_x[1:], one_x)


def test_steps_are_shared_out_as_the_probabilities_say() -> None:
    regularizer = EquivarianceConfig().build(GRID)
    plans = [regularizer.plan(key) for key in range(4000)]
    share = Counter(plan.where for plan in plans)
    assert share["latent"] / 4000 == pytest.approx(0.5, abs=0.03)
    assert share["picture"] / 4000 == pytest.approx(0.125, abs=0.02)
    latent = [plan for plan in plans if plan.where == "latent"]
    assert {plan.scale for plan in latent} == {step / 32 for step in range(8, 32)}
    assert {plan.turns for plan in latent} == {1, 2, 3}
    assert {plan for plan in plans if plan.where == "nowhere"} == {Plan("nowhere", 1.0, 0)}
    still = EquivarianceConfig(rotate=False).build(GRID)
    assert {still.plan(key).turns for key in range(100)} == {0}


def test_the_prior_branch_encodes_the_smaller_picture(tiny_config: TokenizerConfig) -> None:
    torch.manual_seed(0)
    model = tiny_config.build().eval()
    regularizer = EquivarianceConfig(latent_probability=0.0, picture_probability=1.0).build(GRID)
    x = picture()
    key = step_where(regularizer, "picture")
    small = regularizer.prepare(x, draw(key))
    assert small.shape[-1] < x.shape[-1]
    assert all(side % 4 == 0 for side in small.shape[-2:])
    step = Regularized(model, {"eq_vae": regularizer})(x, draw(key))
    assert torch.equal(step.target, small)
    assert torch.equal(step.x_hat, model(small).x_hat)


def test_an_ordinary_step_is_the_plain_pass(tiny_config: TokenizerConfig) -> None:
    torch.manual_seed(0)
    model = tiny_config.build().eval()
    regularizer = EquivarianceConfig().build(GRID)
    step = Regularized(model, {"eq_vae": regularizer})(picture(), draw(step_where(regularizer, "nowhere")))
    assert torch.equal(step.x_hat, model(picture()).x_hat)
    assert torch.equal(step.target, picture())
    assert step.penalties == {}


def test_a_latent_without_a_grid_is_refused() -> None:
    regularizer = EquivarianceConfig(latent_probability=1.0).build(GRID)
    with pytest.raises(ValueError, match="eq_vae needs a latent with the picture's axes"):
        regularizer.perturb(torch.zeros(2, 8, 16), picture(), draw(0))


@pytest.mark.slow
def test_a_run_with_all_kinds_and_an_adversary_trains_and_resumes(
    tiny_run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """The adversary sees the small pictures too; an interrupted run draws the same transforms."""
    settings = tiny_run(save_every=20)
    settings["phases"][0] |= {
        "resolution": 32,
        "losses": [
            {"kind": "l1"},
            {"kind": "mmd", "weight": 0.1},
            {"kind": "sliced_wasserstein", "weight": 0.1},
        ],
        "regularizers": [
            {"kind": "eq_vae", "min_scale": 0.5},
            {"kind": "latent_noise", "tau": 0.1},
            {"kind": "latent_consistency", "weight": 0.5},
        ],
        "adversary": {"weight": 0.1, "width": 8, "num_layers": 2},
    }
    whole = load_tensors(train(TrainConfig.parse(settings)) / "model.safetensors")
    assert all(bool(torch.isfinite(value).all()) for value in whole.values())
    settings["out"] = str(tmp_path / "again")
    shutil.rmtree(train(TrainConfig.parse(settings)))  # the last of two checkpoints
    resumed = load_tensors(train(TrainConfig.parse(settings)) / "model.safetensors")
    assert all(torch.equal(whole[name], value) for name, value in resumed.items())
