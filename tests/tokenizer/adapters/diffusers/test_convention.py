"""One scale for many channels: DC-AE's 1 / rms, exact where all channels agree."""

import pytest
import torch

from tokenizer.adapters.diffusers.convention import Statistics, one_scale, refuse
from tokenizer.spec import LatentSpec


def test_equal_channels_without_a_mean_keep_their_scale_digit_for_digit() -> None:
    for scale in (0.18215, 0.41407, 0.3189, 1.5305):
        spec = LatentSpec.image(7, 8).from_convention(scale)
        assert one_scale(Statistics.of(spec)) == scale


def test_other_channels_get_one_over_the_root_mean_square_of_the_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.randn(4, 1, generator=generator), torch.tensor([[0.5], [1.0], [2.0], [3.0]])
    z = torch.randn(4, 100_000, generator=generator) * std + mean
    statistics = Statistics(tuple(mean.flatten().tolist()), tuple(std.flatten().tolist()))
    assert one_scale(statistics) == pytest.approx(z.square().mean().rsqrt().item(), rel=0.01)


def test_statistics_that_were_never_measured_name_the_command() -> None:
    with pytest.raises(ValueError, match=r"python -m tokenizer\.stats"):
        Statistics.of(LatentSpec.image(4, 8))


def test_a_refusal_names_class_setting_value_and_what_it_must_be() -> None:
    with pytest.raises(ValueError, match="AutoencoderDC with in_channels=1 cannot be .* must be 3"):
        refuse("AutoencoderDC", "in_channels", 1, 3)
