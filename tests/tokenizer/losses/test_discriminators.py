"""The patch discriminator looks at patches, and at each picture alone."""

import torch

from tokenizer.losses.discriminators import PatchDiscriminator


def test_one_picture_does_not_see_another() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(width=16)
    x = torch.randn(3, 3, 64, 64)
    assert torch.allclose(network(x)[1:2], network(x[1:2]), atol=1e-5)


def test_field_of_view_is_70_pixels() -> None:
    """Three strided layers, one more and the last: a logit depends on at most 70 rows (norms set aside)."""
    torch.manual_seed(0)
    network = PatchDiscriminator(width=8, num_layers=3)
    network.layers = torch.nn.Sequential(
        *(layer for layer in network.layers if not isinstance(layer, torch.nn.GroupNorm))
    )
    x = torch.randn(1, 3, 256, 256, requires_grad=True)
    logits = network(x)
    assert tuple(logits.shape) == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    assert x.grad is not None
    rows = x.grad[0].abs().sum(dim=(0, 2)).nonzero().flatten()
    assert int(rows.max() - rows.min()) + 1 == 70
