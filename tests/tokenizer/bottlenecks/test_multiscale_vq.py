"""Token maps from coarse to fine: sums, shared convolutions, any grid."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tokenizer.bottlenecks.multiscale_vq import VAR_SCALES, MultiscaleVQ, MultiscaleVQConfig, shared_phi
from tokenizer.config import image_spec


def build(**settings: Any) -> MultiscaleVQ:
    torch.manual_seed(0)
    config = {"codebook_size": 64, "scales": [1, 2, 4, 8], "num_phi": 2, **settings}
    module = MultiscaleVQConfig.parse(config).build(6)
    torch.nn.init.normal_(module.book.codebook)
    return module


def test_it_is_the_algorithm_of_the_paper() -> None:
    """Written out: down, nearest, up, phi, off; scale by scale."""
    module, h = build().eval(), torch.randn(2, 6, 8, 8)
    out = module(h)
    rest, z, first = h.clone(), torch.zeros_like(h), 0
    losses = []
    for turn, side in enumerate((1, 2, 4, 8)):
        small = F.interpolate(rest, size=(side, side), mode="area").movedim(1, -1)
        indices = torch.cdist(small.flatten(0, 2), module.book.codes).argmin(dim=1).view(2, side, side)
        assert torch.equal(out.indices[:, first : first + side * side], indices.flatten(1))
        large = module.book.codes[indices].movedim(-1, 1)
        if side != 8:
            large = F.interpolate(large, size=(8, 8), mode="bicubic")
        phi = module.phis[turn // 2]
        part = 0.5 * large + 0.5 * phi.conv(large)  # type: ignore[union-attr,operator]  # nn.Module's
        z, rest, first = z + part, rest - part, first + side * side
        losses.append(1.25 * F.mse_loss(z, h))
    torch.testing.assert_close(out.z, z, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.loss, torch.stack(losses).mean())
    assert out.indices.shape == (2, 1 + 4 + 16 + 64)


def test_convolutions_are_shared_as_in_the_released_models() -> None:
    """Ten scales, four convolutions: 2, 3, 2, 3; as many as scales: one each; one: all."""
    assert [shared_phi(turn, 10, 4) for turn in range(10)] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert [shared_phi(turn, 5, 5) for turn in range(5)] == [0, 1, 2, 3, 4]
    assert {shared_phi(turn, 10, 1) for turn in range(10)} == {0}


def test_the_published_scales_send_680_tokens() -> None:
    module = MultiscaleVQConfig(codebook_size=4096).build(32)
    part = image_spec(32, 16, module.codes).z
    assert module.scales == VAR_SCALES
    assert part.index_shape((256, 256)) == (680,)


@pytest.mark.parametrize("grid", [(8, 8), (3, 5), (1, 1), (16, 4)])
def test_indices_decode_to_the_same_z_on_any_grid(grid: tuple[int, int]) -> None:
    module = build().eval()
    out = module(torch.randn(2, 6, *grid))
    assert out.indices.shape[1:] == image_spec(6, 16, module.codes).z.index_shape(
        (grid[0] * 16, grid[1] * 16)
    )
    torch.testing.assert_close(module.decode_indices(out.indices, grid), out.z, atol=1e-6, rtol=0)


def test_codes_and_convolutions_learn_and_h_gets_the_straight_gradient() -> None:
    module = build(commitment=0.0)
    h = torch.randn(2, 6, 8, 8, requires_grad=True)
    out = module(h)
    g = torch.randn_like(h)
    (out.loss + (out.z * g).sum()).backward()
    assert h.grad is not None
    torch.testing.assert_close(h.grad, g)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_each_map_makes_it_better_once_it_has_learned() -> None:
    module = build()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    h = F.interpolate(
        torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(0)), size=(8, 8), mode="bicubic"
    )
    first = module(h).loss.item()
    for _ in range(60):
        optimizer.zero_grad()
        module(h).loss.backward()
        optimizer.step()
    out = module.eval()(h)
    assert out.loss.item() < 0.8 * first
    maps = out.indices.split([1, 4, 16, 64], dim=1)
    z, errors = torch.zeros_like(h), []
    for turn, side in enumerate((1, 2, 4, 8)):
        z = z + module.enlarge(maps[turn].view(8, side, side), turn, (8, 8)).detach()
        errors.append((z - h).square().mean().item())
    assert errors[-1] < errors[1] < errors[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scales": [1, 4, 2]}, r"scales \[1, 4, 2\] must be sides"),
        ({"scales": []}, "must be sides"),
        ({"distance": "cosine"}, "distance 'cosine'"),
        ({"update": "ema"}, "update 'ema'"),
        ({"num_phi": 6}, "num_phi 6 is too many for 4 scales"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)
