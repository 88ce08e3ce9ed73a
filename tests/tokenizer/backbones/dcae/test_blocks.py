"""Blocks of DC-AE: attention equal in both forms, heads in their order, neighbourhoods as wide as they say."""

import torch

from tokenizer.backbones.dcae.blocks import LinearAttention, Neighbourhood


def test_linear_and_quadratic_attention_are_one_function() -> None:
    attention = LinearAttention(16, head_dim=8)
    q, k, v = torch.rand(3, 2, 2, 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(attention._linear(q, k, v), attention._quadratic(q, k, v), atol=1e-12)


def test_heads_interleave_q_k_and_v() -> None:
    """Zeroing the first head_dim rows of the fused weight silences the queries of head 0 and nothing else."""
    torch.manual_seed(0)
    attention = LinearAttention(16, head_dim=8).double().requires_grad_(False)
    x = torch.randn(1, 16, 5, 5, dtype=torch.float64)
    seen = {}
    attention.proj.register_forward_hook(lambda _, args, __: seen.update(h=args[0]))
    attention(x)
    before = seen["h"]
    attention.qkv.weight[:8] = 0
    attention(x)
    assert float(seen["h"][:, :8].abs().max()) == 0.0
    assert torch.equal(seen["h"][:, 8:], before[:, 8:])


def test_attention_survives_half_precision() -> None:
    """Sums over 4096 positions overflow float16 unless the ratio is taken in float32."""
    torch.manual_seed(0)
    attention = LinearAttention(16, head_dim=8).half()
    out = attention(20 * torch.randn(1, 16, 64, 64, dtype=torch.float16))
    assert torch.isfinite(out).all()


def test_a_neighbourhood_reads_its_square_and_its_own_head() -> None:
    torch.manual_seed(0)
    mix = Neighbourhood(12, head_dim=4, kernel=5).requires_grad_(False)
    x = torch.zeros(1, 12, 9, 9)
    x[0, 5, 4, 4] = 1.0  # in the second of three groups: the keys of the only head
    out = mix(x)[0]
    assert out[:4].abs().max() == 0.0
    assert out[8:].abs().max() == 0.0
    rows = out[4:8].abs().sum(dim=(0, 2)).nonzero().flatten()
    assert rows.tolist() == [2, 3, 4, 5, 6]


def test_each_neighbourhood_adds_heads() -> None:
    attention = LinearAttention(16, head_dim=8, kernels=(3, 5))
    assert attention.proj.in_channels == 3 * 16
    x = torch.randn(1, 16, 6, 6, generator=torch.Generator().manual_seed(0))
    assert attention(x).shape == x.shape
    attention.requires_grad_(False).proj.weight[:, 16:] = (
        0  # the added heads silenced: plain attention is left
    )
    plain = LinearAttention(16, head_dim=8).requires_grad_(False)
    plain.load_state_dict(
        {
            name: value[:, :16] if name == "proj.weight" else value
            for name, value in attention.state_dict().items()
            if not name.startswith("scales.")
        }
    )
    assert torch.allclose(attention(x), plain(x), atol=1e-6)
