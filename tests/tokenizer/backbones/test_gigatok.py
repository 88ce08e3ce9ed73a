"""GigaTok: any size of picture, queries that begin as means, sizes as published."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tokenizer.backbones.gigatok import AdaptiveGroupNorm, GigaTokConfig, pooled
from tokenizer.config import TokenizerConfig
from tokenizer.layers.heads import mlp
from tokenizer.model import Autoencoder

SMALL = {"width": 16, "depth": 1, "heads": 2}


def build(**changes: Any) -> Autoencoder:
    torch.manual_seed(0)
    backbone = {
        "kind": "gigatok",
        "tokens": 8,
        "latent_channels": 4,
        "inner_channels": 8,
        "widths": [8, 8, 16],
        "blocks_per_level": 1,
        "norm_groups": 4,
        "learned_side": 4,
        "encoder": SMALL,
        "decoder": {"width": 16, "depth": 2, "heads": 2},
    }
    bottleneck = {"kind": "vq", "codebook_size": 16, "distance": "cosine", "entropy": 0.1}
    return TokenizerConfig.parse({"backbone": backbone | changes, "bottleneck": bottleneck}).build().eval()


def picture(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("size", [(16, 16), (24, 12), (17, 9)])
@torch.no_grad()
def test_every_size_has_the_same_number_of_tokens(size: tuple[int, int]) -> None:
    model = build()
    model.spec = model.spec.with_statistics({"z": ([0.0] * 4, [1.0] * 4)})
    latent = model.encode(picture(*size))
    assert latent.z.shape == (2, 4, 8)
    assert latent.indices["z"].shape == (2, 8)
    assert model.decode(latent).shape == (2, 3, *size)


def test_queries_begin_as_means_over_ever_smaller_parts() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    got = pooled(x, 8)[0, :, 0]
    assert got[0] == got[1] == x.mean()
    assert got[2:4].tolist() == [x[..., :2].mean(), x[..., 2:].mean()]
    assert got[4] == x[..., :2, :2].mean()
    assert got[7] == x[..., 2:, 2:].mean()
    assert pooled(torch.randn(2, 3, 5, 7), 32).shape == (2, 32, 3)


def test_the_adaptive_norm_takes_scale_and_shift_from_the_map() -> None:
    torch.manual_seed(0)
    norm = AdaptiveGroupNorm(8, 4, told_by=3)
    x, style = torch.randn(2, 8, 4, 4), torch.randn(2, 3, 2, 2)
    normal = nn.functional.group_norm(x, 4, eps=1e-6)
    deviation = (style.flatten(2).var(dim=2, correction=0) + 1e-6).sqrt()
    scale, shift = norm.scale(deviation), norm.shift(style.flatten(2).mean(dim=2))
    torch.testing.assert_close(norm(x, style), normal * scale[..., None, None] + shift[..., None, None])


def test_every_parameter_learns() -> None:
    model = build().train()
    step = model(picture(16, 16))
    (step.x_hat.square().mean() + step.bottleneck.loss).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # The first token begins every query, so that the last block's positions of the row alone could be silent.
    assert silent == []


@pytest.mark.parametrize(
    ("encoder", "decoder", "millions"), [("S", "S", 136), ("S", "B", 232), ("B", "L", 622)]
)
def test_it_has_the_published_sizes(encoder: str, decoder: str, millions: float) -> None:
    """The authors' counts include the head that alignment reads the decoder's third block with."""
    with torch.device("meta"):
        config = GigaTokConfig.parse({"encoder": encoder, "decoder": decoder})
        tree = {"backbone": config.model_dump(), "bottleneck": {"kind": "vq", "codebook_size": 16384}}
        model = TokenizerConfig.parse(tree).build()
        width = config.size(decoder).width
        head = mlp(width, 4 * width, 768)
    count = sum(p.numel() for part in (model, head) for p in part.parameters())
    assert math.isclose(count / 1e6, millions, rel_tol=0.02)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens 24 must be a power of two"):
        GigaTokConfig.parse({"tokens": 24})
    with pytest.raises(ValueError, match="multiple of heads"):
        GigaTokConfig.parse({"encoder": {"width": 30, "depth": 1, "heads": 4}})
