"""A backbone's latent is a grid unless it says otherwise."""

from tokenizer.backbones.base import BackboneSettings
from tokenizer.backbones.query1d import Query1DConfig
from tokenizer.backbones.vit import ViTConfig


def test_a_grid_has_no_number_of_tokens() -> None:
    assert BackboneSettings().num_tokens is None
    assert ViTConfig().num_tokens is None


def test_a_row_has_one_or_a_range() -> None:
    assert Query1DConfig(tokens=8).num_tokens == 8
    assert Query1DConfig(tokens=8, min_tokens=2).num_tokens == (2, 8)
