"""An ordered row: causal tokens, prefixes with null tokens behind them, guidance, and the published bodies."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tokenizer.backbones.semanticist import Decoder, SemanticistConfig
from tokenizer.config import TokenizerConfig
from tokenizer.layers.rows import causal_row
from tokenizer.model import Autoencoder
from tokenizer.spec import Latent

BODY = {"width": 16, "depth": 2, "heads": 2}
SMALL: dict[str, Any] = {
    "kind": "semanticist",
    "latent_channels": 4,
    "tokens": 6,
    "encoder_patch": 8,
    "decoder_patch": 4,
    "learned_side": 2,
    "encoder": BODY,
    "decoder": BODY,
    "steps": 2,
}


def build(**changes: Any) -> Autoencoder:
    torch.manual_seed(0)
    model = TokenizerConfig.parse({"backbone": SMALL | changes}).build().eval().requires_grad_(False)
    model.spec = model.spec.with_statistics({"z": ([0.1] * 4, [1.5] * 4)})
    for parameter in model.parameters():  # gates and heads start at 0
        parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def picture(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (9, 17)])
def test_every_size_has_the_same_tokens_and_comes_back(size: tuple[int, int]) -> None:
    model = build()
    latent = model.encode(picture(*size))
    assert latent.z.shape == (2, 4, 6)
    assert model.decode(latent).shape == (2, 3, *size)


def test_tokens_are_normalised_over_their_channels() -> None:
    h = build().encoder(picture(16, 16))
    torch.testing.assert_close(h.mean(dim=1), torch.zeros(2, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(h.var(dim=1, correction=0), torch.ones(2, 6), atol=1e-2, rtol=0)


def test_a_token_depends_on_the_queries_before_it_alone() -> None:
    model = build()
    x = picture(16, 16)
    before = model.encoder(x)
    model.encoder.body.positions.table[3, 0] += 1.0
    after = model.encoder(x)
    torch.testing.assert_close(after[:, :, :3], before[:, :, :3])
    assert (after[:, :, 3:] - before[:, :, 3:]).abs().amax(dim=1).gt(1e-4).all()


def test_every_prefix_decodes_and_stands_for_null_tokens_behind_it() -> None:
    model = build()
    whole = model.encode(picture(16, 16))
    assert isinstance(model.decoder, Decoder)
    null = (model.decoder.null.T - 0.1) / 1.5  # normalised as the spec says
    for count in range(1, 7):
        short = model.encode(picture(16, 16), num_tokens=count)
        x_hat = model.decode(short)
        assert torch.equal(model.decode(whole, num_tokens=count), x_hat)
        filled = torch.cat([short.z, null[:, count:].expand(2, -1, -1)], dim=2)
        by_hand = model.decode(Latent({"z": filled}, (16, 16)))
        torch.testing.assert_close(x_hat, by_hand, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="1 to 6 tokens, not 7"):
        model.decode(whole, num_tokens=7)


def test_guidance_leads_away_from_what_null_tokens_give() -> None:
    plain, guided = build(), build(guidance=3.0)
    z, x_t, t = torch.randn(2, 4, 6), torch.randn(2, 3, 16, 16), torch.tensor([0.3, 0.8])
    decoder = plain.decoder
    assert isinstance(decoder, Decoder)
    v = decoder.velocity(x_t, t, decoder.condition(z, (16, 16)))
    nothing = decoder.velocity(x_t, t, decoder.condition(z[..., :0], (16, 16)))
    expected = nothing + 3.0 * (v - nothing)
    got = guided.decoder.drift(x_t, t, guided.decoder.condition(z, (16, 16)))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(decoder.drift(x_t, t, decoder.condition(z, (16, 16))), v)


def test_a_fresh_decoder_gives_zero() -> None:
    torch.manual_seed(0)
    decoder = SemanticistConfig.parse(SMALL).build_decoder()
    x_t = torch.randn(1, 3, 8, 8)
    assert not decoder(x_t, torch.tensor([0.5]), decoder.condition(torch.randn(1, 4, 2), (8, 8))).any()


def test_the_mask_is_that_of_the_paper() -> None:
    mask = causal_row(4, 3, torch.device("cpu"))
    assert mask[:, :4].all()
    assert not mask[:4, 4:].any()


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="min_tokens 9 must not be above tokens, 8"):
        SemanticistConfig.parse({"tokens": 8, "min_tokens": 9})
    with pytest.raises(ValueError, match="decoder: width 30 must be a multiple of heads"):
        SemanticistConfig.parse({"decoder": {"width": 30, "depth": 1, "heads": 4}})
    with pytest.raises(ValueError, match="multiple of 4"):
        SemanticistConfig.parse({"decoder": {"width": 10, "depth": 1, "heads": 1}})


@pytest.mark.parametrize(("size", "millions"), [("L", 458), ("XL", 675)])
def test_the_decoder_is_as_large_as_the_published_transformer(size: str, millions: int) -> None:
    """DiT's table 1; its class labels (1.0 and 1.2 million) are tokens here."""
    with torch.device("meta"):
        decoder = SemanticistConfig.parse({"decoder": size}).build_decoder()
        encoder = SemanticistConfig().build_encoder(16)
    count = sum(parameter.numel() for parameter in decoder.parameters())
    assert math.isclose(count / 1e6, millions, rel_tol=0.02)
    assert math.isclose(sum(value.numel() for value in encoder.parameters()) / 1e6, 86, rel_tol=0.02)
