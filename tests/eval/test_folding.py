"""A folded network gives what it gave, with fewer passes."""

import torch
from torch import nn

from eval.features import ConvNormReLU
from eval.folding import fold_norms


def test_outputs_stay_and_norms_go() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        ConvNormReLU(3, 8, 3, stride=2), ConvNormReLU(8, 5, (1, 7), padding=(0, 3))
    ).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    x = torch.randn(2, 3, 20, 20)
    with torch.inference_mode():
        expected = network(x)
        fold_norms(network)
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)
    assert expected.std() > 0.1
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert all(module.conv.bias is not None for module in network if isinstance(module, ConvNormReLU))
