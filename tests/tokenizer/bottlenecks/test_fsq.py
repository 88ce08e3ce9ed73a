"""FSQ: equal to vector-quantize-pytorch, every code reached and kept, gradients of the bound."""

import pytest
import torch

from tokenizer.bottlenecks.fsq import FSQ, FSQConfig

LEVELS = pytest.mark.parametrize(
    ("levels", "symmetric"),
    [
        ((8, 5, 5, 5), False),
        ((3, 4), False),
        ((7,), False),
        ((511,), False),
        ((2, 2, 3), True),
        ((8, 6, 5), True),
    ],
    ids=str,
)


def features(channels: int, spread: float = 2.0) -> torch.Tensor:
    return spread * torch.randn(2, channels, 9, 7, generator=torch.Generator().manual_seed(0))


@LEVELS
@pytest.mark.parametrize("num_codebooks", [1, 2])
def test_it_equals_vector_quantize_pytorch(
    levels: tuple[int, ...], symmetric: bool, num_codebooks: int
) -> None:
    reference = pytest.importorskip("vector_quantize_pytorch").FSQ(
        list(levels), num_codebooks=num_codebooks, preserve_symmetry=symmetric
    )
    module = FSQ(levels, num_codebooks, symmetric)
    h = features(len(levels) * num_codebooks).requires_grad_()
    out = module(h)
    z, indices = reference(h)
    torch.testing.assert_close(out.z, z, rtol=0.0, atol=1e-6)
    assert out.indices is not None
    expected = indices.long()
    assert torch.equal(out.indices, expected.movedim(-1, 1) if num_codebooks > 1 else expected)
    weight = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    (mine,) = torch.autograd.grad((out.z * weight).sum(), h)
    (theirs,) = torch.autograd.grad((z * weight).sum(), h)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@LEVELS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_index_is_a_code_of_its_own(
    levels: tuple[int, ...], symmetric: bool, dtype: torch.dtype
) -> None:
    module = FSQ(levels, symmetric=symmetric).to(dtype)
    assert module.codes is not None
    every = torch.arange(module.codes.codebook_size).view(1, -1)
    z = module.decode_indices(every, (every.shape[1],))
    assert z.dtype == dtype
    assert len(z[0].T.unique(dim=0)) == module.codes.codebook_size
    assert torch.equal(module.encode_indices(z), every)


@LEVELS
def test_every_level_is_reached_and_the_ends_are_ends(levels: tuple[int, ...], symmetric: bool) -> None:
    module = FSQ(levels, symmetric=symmetric)
    h = torch.linspace(-8, 8, 40001).view(1, 1, -1).expand(1, len(levels), -1)
    z = module(h).z
    for channel, count in enumerate(levels):
        values = z[0, channel].unique()
        assert len(values) == count
        assert values.abs().max().item() == pytest.approx(1.0)
        if symmetric:
            torch.testing.assert_close(values, torch.linspace(-1, 1, count))
    assert module(100.0 * features(len(levels))).z.abs().max() <= 1.0


def test_an_index_counts_its_first_channel_lowest() -> None:
    module = FSQ((5, 3))
    low = torch.full((1, 2, 1), -9.0)
    first, second = low.clone(), low.clone()
    first[:, 0] = 9.0
    second[:, 1] = 9.0
    assert [int(module(h).indices) for h in (low, first, second)] == [0, 4, 10]


def test_the_gradient_is_that_of_the_bound() -> None:
    h = features(2).requires_grad_()
    (got,) = torch.autograd.grad(FSQ((5, 5))(h).z.sum(), h)
    expected = (1.0 - torch.tanh(h.detach()) ** 2) * (4 * 1.001 / 2) / 2
    torch.testing.assert_close(got, expected)


def test_half_precision_features_are_quantized_in_full() -> None:
    h = features(4).bfloat16()
    module = FSQ((8, 5, 5, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(h)
    assert out.z.dtype == torch.bfloat16
    assert out.indices is not None
    assert torch.equal(out.indices, module(h.float()).indices)


def test_levels_are_used_evenly_or_not() -> None:
    h = torch.linspace(-1, 1, 3).view(3, 1, 1) * 20
    assert FSQ((3,))(h).stats["level_entropy"].item() == pytest.approx(1.0)
    assert FSQ((3,))(torch.zeros(3, 1, 1)).stats["level_entropy"].item() == 0.0


def test_a_big_codebook_is_exact() -> None:
    module = FSQConfig(levels=(16,) * 8).build(8)  # 2^32 codes
    last = torch.tensor([[2**32 - 1, 0, 2**31 + 12345]])
    assert torch.equal(module.encode_indices(module.decode_indices(last, (3,))), last)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="3 levels times num_codebooks 2 must be the latent_channels.* 4"):
        FSQConfig(levels=(5, 5, 5), num_codebooks=2).build(4)
    with pytest.raises(ValueError, match="2 levels are uneven.*symmetric=true"):
        FSQConfig(levels=(2, 5)).build(2)
    with pytest.raises(ValueError, match="levels must name"):
        FSQConfig(levels=(1, 5)).build(2)
    with pytest.raises(ValueError, match="codebook_size"):
        FSQConfig(levels=(16,) * 9).build(9)
