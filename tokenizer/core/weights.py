"""Weights from a local file, whoever published it; nothing that the file may contain is executed."""

import pickle
from pathlib import Path

import torch
from torch import Tensor

_NESTED = ("state_dict", "model")  # where training scripts put the weights beside their optimizer


def load_weights(file: Path) -> dict[str, Tensor]:
    """The named tensors of a ``.safetensors`` file, or of a ``.pth`` read by torch's restricted unpickler.

    Raises:
        ValueError: if the file is not there, or holds no named tensors.
    """
    if not file.is_file():
        raise ValueError(f"{file} is missing")
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(file))
        except SafetensorError as error:
            raise ValueError(f"{file} is no safetensors file: {error}") from None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{file} holds no weights that can be read safely: {error}") from None
    for name in _NESTED:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{file} holds no named tensors")
    return dict(state)
