"""What every kind of bottleneck promises; a new kind is tested by being a member of the union."""

from typing import Any, Literal, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from tokenizer.bottlenecks import BottleneckConfig

MEMBERS = get_args(get_args(BottleneckConfig)[0])
KINDS = pytest.mark.parametrize("config", [member() for member in MEMBERS], ids=lambda config: config.kind)
GRIDS = pytest.mark.parametrize("grid", [(3, 5), (2, 3, 4), (7,)], ids=["image", "video", "tokens"])
CHANNELS = 4


def features(module: Any, grid: tuple[int, ...], *, requires_grad: bool = False) -> Tensor:
    """h (2, C_h, *grid)."""
    shape = (2, module.input_channels(CHANNELS), *grid)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_(requires_grad)


@KINDS
def test_a_kind_is_found_by_its_name(config: Any) -> None:
    assert TypeAdapter(BottleneckConfig).validate_python({"kind": config.kind}) == config
    assert type(config).model_fields["kind"].annotation == Literal[config.kind]
    assert isinstance(config.build(), nn.Module)


@GRIDS
@KINDS
def test_z_has_the_latent_channels_and_the_grid(config: Any, grid: tuple[int, ...]) -> None:
    module = config.build()
    for sample in (False, True):
        out = module(features(module, grid), sample=sample)
        assert out.z.shape == (2, CHANNELS, *grid)
        assert out.z.dtype == torch.float32
        assert out.loss.shape == ()
        assert out.loss.dtype == torch.float32
        assert torch.isfinite(out.loss)
        if out.indices is not None:
            assert out.indices.dtype == torch.int64
            assert out.indices.shape[0] == 2
        for name, value in out.stats.items():
            assert value.shape == (), name
            assert not value.requires_grad, name


@KINDS
def test_the_gradient_reaches_h_and_is_finite(config: Any) -> None:
    module = config.build()
    h = features(module, (3, 5), requires_grad=True)
    out = module(h, sample=True, noise=torch.randn(2, CHANNELS, 3, 5))
    (out.z.square().sum() + out.loss).backward()
    assert h.grad is not None
    assert torch.isfinite(h.grad).all()
    assert h.grad.abs().max() > 0


@KINDS
def test_a_state_dict_brings_the_same_module_back(config: Any) -> None:
    first, second = config.build().eval(), config.build().eval()
    second.load_state_dict(first.state_dict())
    h = features(first, (3, 5))
    noise = torch.randn(2, CHANNELS, 3, 5)
    for sample in (False, True):
        one, two = first(h, sample=sample, noise=noise), second(h, sample=sample, noise=noise)
        assert torch.equal(one.z, two.z)
        assert torch.equal(one.loss, two.loss)


@KINDS
def test_without_sampling_the_same_h_gives_the_same_z(config: Any) -> None:
    module = config.build().eval()
    h = features(module, (3, 5))
    assert torch.equal(module(h).z, module(h, noise=torch.randn(2, CHANNELS, 3, 5)).z)


@KINDS
def test_codes_and_z_are_one_to_one_or_codes_are_refused(config: Any) -> None:
    module = config.build().eval()
    out = module(features(module, (3, 5)))
    if out.indices is None:
        with pytest.raises(ValueError, match="continuous"):
            module.decode_indices(torch.zeros(2, 3, 5, dtype=torch.int64))
    else:
        z = module.decode_indices(out.indices)
        assert torch.equal(z, out.z)


@KINDS
def test_half_precision_features_give_a_float32_loss(config: Any) -> None:
    module = config.build()
    out = module(features(module, (3, 5)).bfloat16())
    assert out.z.dtype == torch.bfloat16
    assert out.loss.dtype == torch.float32
