"""What every kind of bottleneck promises; a new kind is one line in ``EXAMPLES``, and all of this tests it."""

import math
from typing import Any, Literal, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from tokenizer.bottlenecks import BottleneckConfig
from tokenizer.bottlenecks.base import Codes
from tokenizer.config import image_spec

# Settings of each kind small enough for a test, and the latent channels they are for.
EXAMPLES: dict[str, tuple[dict[str, Any], int]] = {
    "bernoulli": ({"num_codebooks": 2}, 6),
    "bsq": ({"num_codebooks": 2, "group_bits": 3}, 6),
    "fsq": ({"levels": [4, 3, 5]}, 3),
    "ibq": ({"codebook_size": 32}, 6),
    "identity": ({}, 4),
    "kl": ({}, 4),
    "lfq": ({}, 6),
    "multichannel_vq": ({"codebook_size": 16, "num_codebooks": 2, "update": "ema"}, 6),
    "multiscale_vq": ({"codebook_size": 32, "scales": [1, 2, 4], "num_phi": 2}, 6),
    "residual_vq": ({"codebook_size": 16, "num_codebooks": 3}, 6),
    "sigma_vae": ({}, 4),
    "simvq": ({"codebook_size": 32}, 6),
    "softvq": ({"codebook_size": 16, "num_codebooks": 2}, 6),
    "token_vq": ({"tokens": 24, "codebook_size": 16}, 6),
    "vq": ({"codebook_size": 32, "update": "ema", "distance": "cosine", "revival": "reset"}, 6),
    "vq_wae": ({"codebook_size": 32}, 6),
}
MEMBERS = {member.model_fields["kind"].default: member for member in get_args(get_args(BottleneckConfig)[0])}
KINDS = pytest.mark.parametrize("kind", sorted(EXAMPLES))
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
GRID = (4, 6)
SIZE = (64, 96)  # pixels, 16 a side for each position of the grid


def build(kind: str) -> tuple[Any, int]:
    """A module of a kind with fixed random weights, and its latent channels."""
    settings, channels = EXAMPLES[kind]
    torch.manual_seed(0)
    module = MEMBERS[kind].parse({"kind": kind, **settings}).build(channels)
    assert isinstance(module, nn.Module)
    return module, channels


def features(module: Any, *, grid: tuple[int, ...] = GRID, seed: int = 0) -> Tensor:
    """h (2, C_h, *grid)."""
    shape = (2, module.input_channels, *grid)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def noise_for(module: Any, seed: int = 1) -> Tensor | None:
    """What a sample takes: (2, noise_channels, *GRID), or nothing."""
    if module.noise_channels == 0:
        return None
    shape = (2, module.noise_channels, *GRID)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_every_kind_is_tested() -> None:
    assert set(EXAMPLES) == set(MEMBERS)


@KINDS
def test_a_kind_is_found_by_its_name_and_explains_itself(kind: str) -> None:
    config = TypeAdapter(BottleneckConfig).validate_python({"kind": kind, **EXAMPLES[kind][0]})
    assert type(config) is MEMBERS[kind]
    assert MEMBERS[kind].model_fields["kind"].annotation == Literal[kind]  # type: ignore[valid-type]
    first = (MEMBERS[kind].__doc__ or "").splitlines()[0]
    assert first.endswith(".")
    assert "arXiv" in first


@KINDS
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_z_has_the_latent_channels_and_the_grid(kind: str, training: bool) -> None:
    module, channels = build(kind)
    module.train(training)
    for sample in (False, True):
        out = module(features(module), sample=sample, noise=noise_for(module) if sample else None)
        assert out.z.shape == (2, channels, *GRID)
        assert out.z.dtype == torch.float32
        assert out.loss.shape == ()
        assert out.loss.dtype == torch.float32
        assert torch.isfinite(out.loss)
        for name, value in out.stats.items():
            assert value.shape == (), name
            assert not value.requires_grad, name


@KINDS
def test_the_gradient_reaches_h_and_is_finite(kind: str) -> None:
    module, _ = build(kind)
    h = features(module).requires_grad_()
    out = module(h, sample=True, noise=noise_for(module))
    (out.z.square().sum() + out.loss + out.z.sum()).backward()
    assert h.grad is not None
    assert torch.isfinite(h.grad).all()
    assert h.grad.abs().max() > 0


@KINDS
def test_a_state_dict_brings_the_same_module_back(kind: str) -> None:
    first, second = build(kind)[0], build(kind)[0]
    for seed in range(3):  # its statistics, where it keeps some, have moved
        first.train()(features(first, seed=seed))
    second.load_state_dict(first.state_dict())
    h, noise = features(first), noise_for(first)
    for sample in (False, True):
        one = first.eval()(h, sample=sample, noise=noise)
        two = second.eval()(h, sample=sample, noise=noise)
        assert torch.equal(one.z, two.z)
        assert torch.equal(one.loss, two.loss)


@KINDS
def test_without_sampling_the_same_h_gives_the_same_z(kind: str) -> None:
    module = build(kind)[0].eval()
    h = features(module)
    torch.manual_seed(1)
    first = module(h).z
    torch.manual_seed(2)
    assert torch.equal(first, module(h).z)


@KINDS
def test_a_sample_follows_its_noise_alone(kind: str) -> None:
    module = build(kind)[0].eval()
    h, noise = features(module), noise_for(module)
    torch.manual_seed(1)
    first = module(h, sample=True, noise=noise).z
    torch.manual_seed(2)
    assert torch.equal(first, module(h, sample=True, noise=noise).z)
    if noise is not None:
        assert not torch.equal(first, module(h, sample=True, noise=-noise).z)


@DTYPES
@KINDS
def test_codes_and_z_are_one_to_one_or_codes_are_refused(kind: str, dtype: torch.dtype) -> None:
    """z -> indices -> z -> indices: the identity, in either precision; and the spec knows their shape."""
    module, channels = build(kind)
    module = module.eval().to(dtype)
    out = module(features(module).to(dtype))
    if module.codes is None:
        assert out.indices is None
        with pytest.raises(ValueError, match="continuous"):
            module.decode_indices(torch.zeros(2, *GRID, dtype=torch.int64), GRID)
        return
    assert isinstance(module.codes, Codes)
    assert out.indices.dtype == torch.int64
    part = image_spec(channels, 16, module.codes).z
    assert tuple(out.indices.shape) == (2, *part.index_shape(SIZE))
    assert int(out.indices.min()) >= 0
    assert int(out.indices.max()) < module.codes.codebook_size
    z = module.decode_indices(out.indices, GRID)
    assert z.dtype == dtype
    torch.testing.assert_close(z, out.z, rtol=0.0, atol=1e-6 if dtype == torch.float32 else 0.02)
    assert len(out.indices.unique()) > 1


@KINDS
def test_bits_are_log2_of_what_is_sent(kind: str) -> None:
    module, channels = build(kind)
    spec = image_spec(channels, 16, module.codes)
    if module.codes is None:
        assert spec.bits(SIZE, bits_per_value=16) == channels * math.prod(GRID) * 16
        return
    sent = module.eval()(features(module)).indices[0].numel()
    assert spec.bits(SIZE) == pytest.approx(sent * math.log2(module.codes.codebook_size))


@KINDS
def test_half_precision_features_give_a_float32_loss(kind: str) -> None:
    module, _ = build(kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(features(module).bfloat16(), sample=True, noise=noise_for(module))
    assert out.loss.dtype == torch.float32
    assert torch.isfinite(out.loss)


@KINDS
def test_any_grid_is_taken(kind: str) -> None:
    module, channels = build(kind)
    for grid in ((1, 1), (3, 5), (7, 2)):
        out = module.eval()(features(module, grid=grid))
        assert out.z.shape == (2, channels, *grid)
        if module.codes is not None:
            assert module.decode_indices(out.indices, grid).shape == out.z.shape
