"""Visual tokenizers: pixels <-> latents. Importing this package imports no torch until a name is used."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizer.loading import load
    from tokenizer.model import Autoencoder, Tokenizer
    from tokenizer.spec import Latent, LatentSpec
    from tokenizer.tiling import TilePlan

__all__ = ["Autoencoder", "Latent", "LatentSpec", "TilePlan", "Tokenizer", "load"]

_HOME = {
    "Autoencoder": "model",
    "Latent": "spec",
    "LatentSpec": "spec",
    "TilePlan": "tiling",
    "Tokenizer": "model",
    "load": "loading",
}


def __getattr__(name: str) -> Any:  # any of the public names
    if name not in _HOME:
        raise AttributeError(f"module 'tokenizer' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"tokenizer.{_HOME[name]}"), name)
