"""Alignment: zero where the head tells the frozen features, gradients to us alone, any layer, nothing shipped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint
from tokenizer.core.optim import OptimConfig
from tokenizer.layers.frozen import load_frozen
from tokenizer.model import Autoencoder
from tokenizer.regularizers.alignment import Alignment, AlignmentConfig
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.train import train
from tokenizer.training import TrainConfig

FROZEN = {"library": "random", "channels": 16, "patch": 4, "depth": 1}
SMALL = {"width": 16, "depth": 1, "heads": 2}
DRAW = Draw(torch.tensor([1, 2]), step=3, factor=4)


def row() -> Autoencoder:
    torch.manual_seed(0)
    tree = {
        "kind": "query1d",
        "tokens": 4,
        "latent_channels": 4,
        "patch": 4,
        "encoder": SMALL,
        "decoder": SMALL,
    }
    return TokenizerConfig.parse({"backbone": tree | {"learned_side": 4}}).build()


def grid() -> Autoencoder:
    torch.manual_seed(0)
    tree = {"kind": "vit", "patch": 4, "latent_channels": 4, "encoder": SMALL, "decoder": SMALL}
    return TokenizerConfig.parse({"backbone": tree}).build()


def build(model: Autoencoder, **changes: Any) -> Alignment:
    return AlignmentConfig.parse({"frozen": FROZEN, "hidden": 16, **changes}).build(model.spec.z)


def picture() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("make", [row, grid])
@pytest.mark.parametrize("match", ["patches", "mean"])
def test_it_can_be_learned_and_reaches_the_encoder(make: Callable[[], Autoencoder], match: str) -> None:
    model = make()
    alignment = build(model, match=match)
    module = Regularized(model, {"alignment": alignment})
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = module(picture(), DRAW).penalties["alignment"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert 0.0 <= losses[-1] < 0.6 * losses[0] <= 1.2
    assert all(p.grad is not None for p in model.encoder.parameters() if p.requires_grad)
    assert all(p.grad is None for p in model.decoder.parameters())


def test_a_head_that_tells_the_features_pays_nothing() -> None:
    model = grid()
    alignment = build(model)
    wanted = alignment.frozen(picture(), (4, 4))

    class Tells(nn.Module):
        def forward(self, ours: torch.Tensor) -> torch.Tensor:
            return 3.0 * wanted.flatten(2).transpose(1, 2)

    alignment.head = Tells()
    assert Regularized(model, {"alignment": alignment})(picture(), DRAW).penalties["alignment"].item() < 1e-5


def test_a_layer_of_the_decoder_is_read_by_its_name() -> None:
    model = grid()
    alignment = build(model, layer="decoder.body.blocks.0", layer_channels=16)
    module = Regularized(model, {"alignment": alignment})
    step = module(picture(), DRAW)
    assert step.extras["decoder.body.blocks.0"].shape == (2, 16, 16)
    step.penalties["alignment"].backward()
    assert all(p.grad is not None for p in model.encoder.parameters())
    assert model.decoder.head[0].weight.grad is None  # behind the layer
    assert Regularized(model, {})(picture(), DRAW).extras == {}


def test_unknown_layers_bring_their_neighbours() -> None:
    model = grid()
    alignment = build(model, layer="decoder.body.blokcs.0", layer_channels=16)
    with pytest.raises(
        ValueError, match=r"no layer 'decoder.body.blokcs.0'; near it are .*decoder.body.blocks"
    ):
        Regularized(model, {"alignment": alignment})
    with pytest.raises(ValueError, match="layer and layer_channels belong together"):
        AlignmentConfig.parse({"frozen": FROZEN, "layer": "decoder"})


def test_the_frozen_encoder_is_nobodys_parameter() -> None:
    model = grid()
    alignment = build(model)
    module = Regularized(model, {"alignment": alignment})
    module(picture(), DRAW)
    theirs = {id(p) for p in load_frozen(alignment.frozen.config).network.parameters()}
    assert theirs
    assert not theirs & {id(p) for p in module.parameters()}
    assert set(alignment.state_dict()) == {
        f"head.{i}.{name}" for i in (0, 2, 4) for name in ("weight", "bias")
    }
    groups = OptimConfig().build(module).param_groups
    assert not theirs & {id(p) for group in groups for p in group["params"]}


def test_a_run_keeps_heads_in_its_checkpoint_and_no_frozen_weights(
    tiny_run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    regularizer = {"kind": "alignment", "weight": 0.1, "hidden": 8, "frozen": FROZEN}
    phase = {"resolution": 16, "images": 8, "batch": 4, "regularizers": [regularizer]}
    folder = train(TrainConfig.parse(tiny_run(phases=[phase])))
    heads = checkpoint.load_tensors(folder / "trainer/regularizers.safetensors")
    assert set(heads) == {f"alignment.head.{i}.{name}" for i in (0, 2, 4) for name in ("weight", "bias")}
    for file in ("model", "ema"):
        names = checkpoint.load_tensors(folder / f"{file}.safetensors")
        assert not [name for name in names if "frozen" in name or "alignment" in name]
