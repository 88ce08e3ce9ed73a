"""RMS norm against its definition."""

import torch

from tokenizer.layers.norms import RMSNorm2d


def test_definition() -> None:
    norm = RMSNorm2d(6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    rms = (x.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    want = x / rms * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)
    assert torch.allclose(norm(x), want, atol=1e-6)


def test_statistics_are_float32_in_half_precision() -> None:
    """300 squared overflows float16: a norm that squares in it gives 0, not 1."""
    x = torch.full((1, 4, 1, 1), 300.0, dtype=torch.float16)
    out = RMSNorm2d(4).to(torch.float16)(x)
    assert out.dtype == torch.float16
    assert torch.allclose(out.float(), torch.ones(1, 4, 1, 1))


def test_gradient_at_zero_is_finite() -> None:
    x = torch.zeros(1, 4, 2, 2, requires_grad=True)
    RMSNorm2d(4)(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
