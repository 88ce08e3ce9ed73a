"""Features of the time, and blocks that begin as the identity."""

import math

import torch

from tokenizer.layers.modulation import ModulatedBlock, TimeEmbedding, modulate, time_features


def test_times_are_told_apart_on_every_scale() -> None:
    features = time_features(torch.tensor([0.0, 0.001, 0.5, 1.0]))
    assert features.shape == (4, 256)
    assert torch.equal(features[0], torch.cat([torch.ones(128), torch.zeros(128)]))
    assert float(features[1, 0]) == torch.tensor(1.0).cos()  # 1000 t at frequency 1
    assert math.isclose(float(features[3, 127]), math.cos(0.1), rel_tol=1e-4)  # at frequency 1/10000
    distances = torch.cdist(features, features) + 100 * torch.eye(4)
    assert float(distances.min()) > 0.5


def test_the_embedding_is_of_the_weights_type() -> None:
    embed = TimeEmbedding(8).to(torch.bfloat16)
    assert embed(torch.tensor([0.1, 0.9])).dtype == torch.bfloat16


@torch.no_grad()
def test_a_fresh_block_is_the_identity_and_the_time_opens_its_gates() -> None:
    torch.manual_seed(0)
    block = ModulatedBlock(8, 2)
    x, c = torch.randn(2, 5, 8), torch.randn(2, 8)
    assert torch.equal(block(x, c), x)
    torch.nn.init.normal_(block.modulation.weight)
    assert not torch.allclose(block(x, c), block(x, c.flip(0)), atol=1e-2)


def test_modulation_in_closed_form() -> None:
    x, shift, scale = torch.ones(1, 2, 3), torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 1.0, -1.0]])
    assert modulate(x, shift, scale)[0, 1].tolist() == [2.0, 4.0, 3.0]
