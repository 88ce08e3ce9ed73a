"""Networks of torchvision and timm by name, with weights from local files; nothing is downloaded."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from tokenizer.core.weights import load_weights

Library = Literal["torchvision", "timm"]
Triple = tuple[float, float, float]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_network(library: Library, name: str) -> tuple[nn.Module, dict[str, Any]]:
    """A network with fresh weights, and what its library says: ``origin``, ``side``, ``mean``, ``std``.

    Raises:
        ValueError: if the library has no such network, naming the nearest.
    """
    return build_torchvision(name) if library == "torchvision" else build_timm(name)


def build_torchvision(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """One of torchvision's; see ``build_network``."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(unknown("torchvision", name, known))
    network: nn.Module = models.get_model(name, weights=None)
    url = models.get_model_weights(name).DEFAULT.url
    side = getattr(network, "image_size", None)  # of its vision transformers
    return network, {"origin": url, "side": side, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}


def build_timm(name: str, **options: Any) -> tuple[nn.Module, dict[str, Any]]:  # timm's own options
    """One of timm's; see ``build_network``."""
    import timm

    if not timm.is_model(name):
        raise ValueError(unknown("timm", name, timm.list_models()))
    network: nn.Module = timm.create_model(name, pretrained=False, **options)
    settings: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    side = settings["input_size"][-1] if settings.get("fixed_input_size") else None
    return network, {
        "origin": f"model.safetensors of huggingface.co/{settings.get('hf_hub_id') or 'timm'}",
        "side": side,
        "mean": tuple(settings.get("mean", IMAGENET_MEAN)),
        "std": tuple(settings.get("std", IMAGENET_STD)),
    }


def unknown(library: str, name: str, known: Sequence[str]) -> str:
    """That a library has no such thing, and what is near."""
    nearest = ", ".join(difflib.get_close_matches(name, known, n=5, cutoff=0.4)) or ", ".join(known[:5])
    return f"{library} has no network {name!r}; near it are: {nearest}"


def fill(network: nn.Module, file: Path, whose: str) -> None:
    """Load a file's weights, all of them and no others.

    Raises:
        ValueError: if the file cannot be read, or holds the weights of something else.
    """
    state, wanted = load_weights(file), network.state_dict()
    wrong = sorted(state.keys() ^ wanted.keys())
    wrong += [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    if wrong:
        raise ValueError(
            f"{file} does not hold the weights of {whose}; {len(wrong)} differ, first {wrong[0]!r}"
        )
    network.load_state_dict(state)
