"""diffusers' video autoencoders behind our interface: their own layers, our caches, latents normalised.

Each file is one of their classes; unlike those for pictures they are not converted into networks of ours, so that they
encode, decode and are measured, and are not trained or exported here.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tokenizer.adapters.diffusers.video import cogvideox, ltx, vidtok, wan
from tokenizer.diffusers_video_spec import VIDEO_SPECS, Statistics
from tokenizer.model import Autoencoder

FAMILIES = {family.NAME: family for family in (cogvideox, ltx, vidtok, wan)}


def build_video(
    name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Autoencoder:  # JSON of another project
    """The autoencoder for a class of ``FAMILIES`` with its weights, float32, in eval mode, without a ``spec_id``.

    Raises:
        ValueError: if the installed diffusers has no such class, a setting is not supported, or the weights do not fit.
    """
    spec = VIDEO_SPECS[name](config, _statistics(tensors))
    module = _their_module(name, config)
    state = {
        key: tensor.to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype).contiguous()
        for key, tensor in tensors.items()
    }
    try:
        module.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the {name} configuration beside them: {error}") from None
    encoder, bottleneck, decoder = FAMILIES[name].parts(module.eval(), spec.z.temporal_factor)
    return Autoencoder(encoder, bottleneck, decoder, spec).eval()


def _their_module(name: str, config: Mapping[str, Any]) -> nn.Module:  # as above
    """Their module without memory behind its parameters."""
    import diffusers

    if not hasattr(diffusers, name):
        raise ValueError(f"diffusers {diffusers.__version__} has no {name}: install a later one")
    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    if name == "AutoencoderVidTok":
        settings["regularizer"] = "kl"  # the quantizer is ours; theirs cannot be built without memory
    try:
        with torch.device("meta"):
            module: nn.Module = getattr(diffusers, name)(**settings)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None
    if "regularizer" in config:
        module.register_to_config(regularizer=config["regularizer"])  # type: ignore[operator]  # untyped there
    return module


def _statistics(tensors: Mapping[str, Tensor]) -> Statistics | None:
    if "latents_mean" not in tensors or "latents_std" not in tensors:
        return None
    mean, std = (tensors[f"latents_{key}"].float().tolist() for key in ("mean", "std"))
    return Statistics(mean, std)
