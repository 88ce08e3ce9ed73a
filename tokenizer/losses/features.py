"""Deep-feature consistency: a frozen network from a local file must see the same in x and x_hat.

Letters: B batch, C channels, H W rows and columns.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.core.run import Precision
from tokenizer.layers.frames import fold
from tokenizer.layers.networks import Library, Triple, build_network, fill, unknown
from tokenizer.layers.precision import full_precision, half_precision
from tokenizer.losses.base import WeightedConfig
from tokenizer.model import StepOutput

Distance = Literal["l1", "l2", "cosine"]


class _Enough(Exception):  # noqa: N818 - stops a forward pass, no error
    """The last layer that is wanted was reached."""


class DeepFeatures(nn.Module):
    """A frozen network read at some of its layers; always in eval mode, never with gradients of its own.

    Args:
        network: takes normalised pictures (B, 3, H, W).
        layers: names of its submodules; none: its output.
        mean: of each channel of pixels in [0, 1], which the network was trained with.
        std: likewise.
        resize: side of the square that pictures are resized to (bilinear, antialiased); None: as they are.
        precision: of the network; features leave in float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        mean: Triple,
        std: Triple,
        resize: int | None,
        precision: Precision,
    ) -> None:
        super().__init__()
        for module in network.modules():
            if getattr(module, "inplace", False):  # it would overwrite the features of the layer before it
                module.inplace = False  # type: ignore[assignment]  # a flag of torch's activations
        self.network = network.eval().requires_grad_(False)
        self.layers = tuple(layers)
        self.resize = resize
        self.region = half_precision if precision == "bf16" else full_precision
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "DeepFeatures":
        """Stays in eval mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x (B, 3, H, W) in [-1, 1] -> the features of each layer, in the order of ``layers``."""
        if self.resize is not None and x.shape[2:] != (self.resize, self.resize):
            x = F.interpolate(x, size=(self.resize, self.resize), mode="bilinear", antialias=True)
        x = (0.5 * (x + 1.0) - self.mean) / self.std
        with self.region(x.device):
            return [feature.float() for feature in self._read(x)]

    def _read(self, x: Tensor) -> list[Tensor]:
        """Run the network on x as far as is needed."""
        if not self.layers:
            return [self.network(x)]
        seen: dict[str, Tensor] = {}
        hooks = [
            self.network.get_submodule(name).register_forward_hook(self._keep(name, seen))
            for name in self.layers
        ]
        try:
            self.network(x)
        except _Enough:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return [seen[name] for name in self.layers]

    def _keep(self, name: str, seen: dict[str, Tensor]) -> Callable[[nn.Module, Any, Any], None]:
        def keep(
            _module: nn.Module, _arguments: Any, output: Any
        ) -> None:  # whatever the library's layers pass
            if not isinstance(output, Tensor):
                raise ValueError(
                    f"layer {name!r} gives a {type(output).__name__}, not a tensor: take another"
                )
            seen[name] = output
            if len(seen) == len(self.layers):
                raise _Enough

        return keep


def distance_between(a: Tensor, b: Tensor, kind: Distance) -> Tensor:
    """Mean distance of two features of the same shape, a scalar >= 0.

    ``cosine`` is 1 - cos over the channels: axis 1 of maps (B, C, H, W), the last of tokens and vectors. (timm's
    swin gives maps with the channels last: take l1 or l2 there.)
    """
    if kind == "l1":
        return F.l1_loss(a, b)
    if kind == "l2":
        return F.mse_loss(a, b)
    return (1.0 - F.cosine_similarity(a, b, dim=1 if a.ndim == 4 else -1)).mean()


class FeatureLoss(nn.Module):
    """Sum over the layers of the mean distance of their features; float32, gradients reach x_hat only.

    Source: Hou et al. 2016, Deep Feature Consistent Variational Autoencoder, arXiv 1610.00291, section 3 (feature
    perceptual loss; squared error, there with a factor 1/2).
    """

    def __init__(self, features: DeepFeatures, distance: Distance) -> None:
        super().__init__()
        self.features = features
        self.distance = distance

    def forward(self, step: StepOutput, x: Tensor) -> Tensor:
        """Scalar >= 0; x (B, 3, *S) in [-1, 1], of clips each frame by itself."""
        with full_precision(x.device):
            with torch.no_grad():
                wanted = self.features(fold(x).float())
            seen = self.features(fold(step.x_hat).float())
            distances = [distance_between(a, b, self.distance) for a, b in zip(seen, wanted, strict=True)]
        return torch.stack(distances).sum()


class FeaturesConfig(WeightedConfig):
    """Distance in the features of any torchvision or timm network, weights from a file (DFC-VAE, arXiv 1610.00291).

    DFC-VAE: network vgg19, layers [1, 6, 11] (relu1_1, relu2_1, relu3_1), distance l2. TiTok (arXiv 2406.07550, code
    of its release): network convnext_small, layers [] (the logits), resize 224, distance l2.
    """

    kind: Literal["features"] = "features"
    library: Library = "torchvision"
    network: str = Field("vgg19", description="the library's name of it")
    weights: Path | None = Field(
        None, description="its .pth or .safetensors file; required, nothing is downloaded"
    )
    layers: tuple[int | str, ...] = Field(
        (), description="submodules by name, or by index in its features; none: its output"
    )
    distance: Distance = "l2"
    resize: int | None = Field(None, ge=8, description="side of the square that pictures are resized to")
    precision: Precision = Field("fp32", description="of the network; the distances are always float32")
    mean: Triple | None = Field(
        None, description="of pixels in [0, 1]; none: what the library says, or ImageNet's"
    )
    std: Triple | None = Field(None, description="likewise")

    def build(self) -> FeatureLoss:
        """The loss.

        Raises:
            ValueError: if the network, a layer or the file does not exist, saying what to put where, or if the
                network cannot take pictures of the size they would have.
        """
        network, stated = build_network(self.library, self.network)
        if self.weights is None:
            raise ValueError(
                f"deep features need a local file and download nothing: put the weights of {self.library}'s "
                f"{self.network} ({stated['origin']}) somewhere and give losses.weights=FILE"
            )
        fill(network, self.weights, f"{self.library}'s {self.network}")
        side = stated["side"]
        if side is not None and self.resize != side:
            raise ValueError(f"{self.network} takes {side}x{side} pictures only: give losses.resize={side}")
        layers = tuple(layer_name(network, layer) for layer in self.layers)
        mean, std = self.mean or stated["mean"], self.std or stated["std"]
        return FeatureLoss(
            DeepFeatures(network, layers, mean, std, self.resize, self.precision), self.distance
        )


def layer_name(network: nn.Module, layer: int | str) -> str:
    """The name of a submodule given by its name or its index.

    An index counts what the library counts: timm's feature stages, the children of torchvision's ``features``, and
    the network's children where it has neither.

    Raises:
        ValueError: naming the choices.
    """
    if isinstance(layer, str):
        known = [name for name, _ in network.named_modules() if name]
        if layer not in known:
            raise ValueError(unknown("the network", layer, known).replace("network", "layer"))
        return layer
    stages = getattr(network, "feature_info", None)
    if stages is not None:
        names = [stage["module"] for stage in getattr(stages, "info", stages)]
    elif isinstance(getattr(network, "features", None), nn.Sequential):
        names = [f"features.{name}" for name, _ in network.get_submodule("features").named_children()]
    else:
        names = [name for name, _ in network.named_children()]
    if not -len(names) <= layer < len(names):
        raise ValueError(f"layer {layer} is not among 0 to {len(names) - 1}: {', '.join(names)}")
    name: str = names[layer]
    return name
