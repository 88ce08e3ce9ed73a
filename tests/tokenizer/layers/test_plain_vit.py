"""The plain transformer: any size, features by patch, the same random weights from the same seed."""

import pytest
import torch

from tokenizer.layers.plain_vit import PlainViTSize

SMALL = PlainViTSize(width=16, patch=4, depth=1, heads=2)


def test_any_size_gives_a_feature_a_patch_and_a_logit_a_class() -> None:
    network = SMALL.build(num_classes=3)
    x = torch.rand(2, 3, 8, 12)
    assert network.features(x).shape == (2, 6, 16)
    torch.testing.assert_close(network(x), network.head(network.features(x).mean(dim=1)))


def test_a_seed_names_the_weights_and_moves_no_state() -> None:
    before = torch.get_rng_state()
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    first, again, other = (SMALL.random(seed).features(x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_features_of_different_patches_differ() -> None:
    features = SMALL.random(0).features(torch.rand(1, 3, 8, 8))[0]
    assert torch.cdist(features, features).topk(2, largest=False).values[:, 1].min() > 0.1


def test_sizes_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4 and of heads, 3"):
        PlainViTSize(width=16, heads=3)
