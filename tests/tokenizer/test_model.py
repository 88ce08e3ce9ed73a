"""Any size goes in and comes back; latents are bound to their tokenizer; calls never see each other."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tokenizer.config import TokenizerConfig
from tokenizer.model import Autoencoder, Tokenizer, check_latent, crop_to, pad_to
from tokenizer.spec import Latent, LatentSpec
from tokenizer.tiling import TilePlan


@pytest.fixture
def autoencoder(tiny_config: TokenizerConfig) -> Autoencoder:
    torch.manual_seed(0)
    model = tiny_config.build().eval().requires_grad_(False)
    model.spec = model.spec.with_statistics({"z": ([0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 0.5, 1.5])})
    return model


def test_it_answers_the_protocol(autoencoder: Autoencoder) -> None:
    assert isinstance(autoencoder, Tokenizer)


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (17, 30), (5, 64)])
def test_any_size_comes_back(autoencoder: Autoencoder, size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size) * 2 - 1
    latent = autoencoder.encode(x)
    assert latent.size == size
    assert tuple(latent.z.shape) == (2, 4, -(-size[0] // 4), -(-size[1] // 4))
    assert tuple(autoencoder.decode(latent).shape) == (2, 3, *size)


def test_padding_equals_padding_by_hand(autoencoder: Autoencoder) -> None:
    x = torch.rand(1, 3, 13, 14) * 2 - 1
    by_hand = torch.nn.functional.pad(x, (0, 2, 0, 3), mode="replicate")
    assert torch.equal(autoencoder.encode(x).z, autoencoder.encode(by_hand).z)


def test_latents_leave_normalised(autoencoder: Autoencoder) -> None:
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    raw = autoencoder.encoder(x)
    want = (raw - torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1, 1)) / torch.tensor(
        [1.0, 2.0, 0.5, 1.5]
    ).view(1, 4, 1, 1)
    latent = autoencoder.encode(x)
    assert torch.allclose(latent.z, want, atol=1e-6)
    assert torch.allclose(autoencoder.decode(latent), autoencoder(x).x_hat, atol=1e-5)


def test_without_statistics_it_says_what_to_run(tiny_config: TokenizerConfig) -> None:
    with pytest.raises(ValueError, match=r"python -m tokenizer\.stats"):
        tiny_config.build().eval().encode(torch.zeros(1, 3, 8, 8))


def test_a_strangers_latent_is_refused_with_both_names(autoencoder: Autoencoder) -> None:
    autoencoder.spec_id = "aaaa"
    latent = autoencoder.encode(torch.zeros(1, 3, 16, 16))
    assert latent.spec_id == "aaaa"
    autoencoder.spec_id = "bbbb"
    with pytest.raises(ValueError, match=r"spec aaaa.*is bbbb"):
        autoencoder.decode(latent)


def test_shapes_that_do_not_fit_are_refused(autoencoder: Autoencoder) -> None:
    with pytest.raises(ValueError, match=r"is \(4, 3, 4\), but pixels of \(16, 16\) need \(4, 4, 4\)"):
        autoencoder.decode(Latent({"z": torch.zeros(1, 4, 3, 4)}, (16, 16)))
    with pytest.raises(ValueError, match="lacks part 'z'"):
        check_latent(Latent({"y": torch.zeros(1)}, (16, 16)), LatentSpec.image(4, 4), "")
    with pytest.raises(ValueError, match="must be"):
        autoencoder.encode(torch.zeros(1, 1, 16, 16))
    with pytest.raises(ValueError, match="no num_tokens"):
        autoencoder.encode(torch.zeros(1, 3, 16, 16), num_tokens=3)


def test_tiles_are_an_argument_and_leave_no_trace(autoencoder: Autoencoder) -> None:
    """A call with tiles changes neither a later nor a simultaneous call without."""
    x = torch.rand(1, 3, 40, 56) * 2 - 1
    whole = autoencoder.decode(autoencoder.encode(x))
    attributes = dict(vars(autoencoder))

    def call(tiles: TilePlan | None) -> torch.Tensor:
        return autoencoder.decode(autoencoder.encode(x, tiles=tiles), tiles=tiles)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(call, [None, TilePlan(16, 4), None, TilePlan(24, 8)]))
    assert torch.allclose(results[0], whole, atol=1e-5)
    assert torch.allclose(results[2], whole, atol=1e-5)
    assert not torch.allclose(results[1], whole, atol=1e-5)
    assert results[1].shape == results[3].shape == whole.shape
    assert dict(vars(autoencoder)) == attributes
    assert torch.allclose(call(TilePlan(64, 8)), whole, atol=1e-5)  # one tile that holds everything


def test_sampling_follows_its_generator() -> None:
    config = TokenizerConfig.parse(
        {
            "backbone": {"kind": "kl", "latent_channels": 2, "widths": [8, 8], "norm_groups": 4},
            "bottleneck": {"kind": "kl"},
        }
    )
    torch.manual_seed(0)
    model = config.build().eval().requires_grad_(False)
    model.spec = model.spec.with_statistics({"z": ([0, 0], [1, 1])})
    x = torch.rand(1, 3, 8, 8)
    draws = [
        model.encode(x, sample=True, generator=torch.Generator().manual_seed(seed)).z for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(model.encode(x).z, model.encode(x).z)


def test_pad_and_crop_are_inverse() -> None:
    x = torch.randn(1, 3, 2, 5, 7)
    padded = pad_to(x, (4, 8, 8))
    assert tuple(padded.shape[2:]) == (4, 8, 8)
    assert torch.equal(padded[:, :, 3, :5, :7], x[:, :, 1])
    assert torch.equal(crop_to(padded, (2, 5, 7)), x)
