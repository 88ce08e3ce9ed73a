"""Auxiliary decoders: what is hidden counts, targets are told better and better, and only from the latent."""

from typing import Any

import pytest
import torch

from tokenizer.config import TokenizerConfig
from tokenizer.layers.hog import hog
from tokenizer.model import Autoencoder
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.regularizers.feature_targets import FeatureTargets, FeatureTargetsConfig
from tokenizer.regularizers.token_masking import TokenMaskingConfig
from tokenizer.spec import PartSpec

SMALL = {"width": 16, "depth": 1, "heads": 2}
FROZEN = {"library": "random", "channels": 16, "patch": 4, "depth": 1}
DRAW = Draw(torch.tensor([1, 2]), step=3, factor=8)


def model() -> Autoencoder:
    torch.manual_seed(0)
    tree = {
        "kind": "query1d",
        "tokens": 4,
        "latent_channels": 8,
        "patch": 8,
        "encoder": SMALL,
        "decoder": SMALL,
    }
    return TokenizerConfig.parse({"backbone": tree | {"learned_side": 2, "mask_token": True}}).build()


def build(network: Autoencoder, **changes: Any) -> FeatureTargets:
    targets = [{"kind": "hog", "cell": 4}, {"kind": "frozen", "frozen": FROZEN}]
    tree = {"targets": targets, "patch": 8, "width": 16, "depth": 1, "heads": 2, **changes}
    config = FeatureTargetsConfig.parse(tree)
    config.check(network.spec.z)
    return config.build(network.spec.z)


def picture() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_only_hidden_patches_count() -> None:
    network = model()
    targets = build(network, targets=[{"kind": "hog", "cell": 4}])
    masking = TokenMaskingConfig(low=0.5, high=0.5).build(network.spec.z)
    module = Regularized(network, {"token_masking": masking, "feature_targets": targets})
    step = module(picture(), DRAW)
    told = targets.decoders["0_hog"](step.z.transpose(1, 2), (2, 2))
    errors = (told - hog(picture(), 8, cell=4)).square().mean(dim=2)
    hidden = step.extras["hidden"]
    torch.testing.assert_close(step.penalties["feature_targets"], errors[hidden].mean())
    alone = Regularized(network, {"feature_targets": targets})(picture(), DRAW)
    told = targets.decoders["0_hog"](alone.z.transpose(1, 2), (2, 2))
    want = (told - hog(picture(), 8, cell=4)).square().mean()
    torch.testing.assert_close(alone.penalties["feature_targets"], want)


def test_all_targets_are_learned_and_the_encoder_with_them() -> None:
    network = model()
    targets = build(network)
    module = Regularized(network, {"feature_targets": targets})
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = module(picture(), DRAW).penalties["feature_targets"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert network.encoder.patch_embed.weight.grad.abs().sum() > 0
    assert network.decoder.head.weight.grad is None
    assert not any("frozen" in name and "decoders" not in name for name in targets.state_dict())


def test_what_cannot_work_is_refused() -> None:
    config = FeatureTargetsConfig(patch=10)
    with pytest.raises(ValueError, match="reads a row of tokens"):
        config.check(PartSpec(channels=4))
    with pytest.raises(ValueError, match="patch 10 must be a multiple of cell, 8"):
        config.check(PartSpec(layout="1d", channels=4, num_tokens=6))
