"""LPIPS as a training loss: frozen weights from local files, gradients through the pictures."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from tokenizer.core.run import Precision
from tokenizer.core.weights import load_weights
from tokenizer.layers.frames import fold
from tokenizer.layers.precision import full_precision, half_precision
from tokenizer.losses.base import WeightedConfig
from tokenizer.model import StepOutput

WHERE = (
    "LPIPS needs two local files and downloads nothing: the trunk (torchvision's {trunk}) as losses.backbone=FILE and "
    "the linear weights (lpips' weights/v0.1/{net}.pth, installed with the lpips package) as losses.linear=FILE"
)
_TRUNKS = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}


def build_lpips(net: Literal["alex", "vgg"], backbone: Path | None, linear: Path | None) -> nn.Module:
    """The network of the ``lpips`` package with weights from files, frozen, in eval mode.

    Source: Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, arXiv 1801.03924.

    Raises:
        ValueError: if a file is not given or not there, saying which and where it comes from.
    """
    import lpips

    if linear is None:
        linear = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth"
    if backbone is None or not backbone.is_file() or not linear.is_file():
        missing = (
            "no trunk is given"
            if backbone is None
            else f"{linear if backbone.is_file() else backbone} is missing"
        )
        raise ValueError(WHERE.format(trunk=_TRUNKS[net], net=net) + f"; {missing}")
    model: nn.Module = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    trunk = {name.removeprefix("features."): value for name, value in load_weights(backbone).items()}
    features = model.get_submodule("net")
    wanted = features.state_dict()  # names are slice1.0.weight: the number after the slice is torchvision's
    features.load_state_dict({name: trunk[name.split(".", 1)[1]] for name in wanted})
    model.load_state_dict(load_weights(linear), strict=False)
    return model.eval().requires_grad_(False)


class HalfTrunk(nn.Module):
    """The trunk of LPIPS in bfloat16 autocast; its features leave in float32, so that distances stay exact."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> Any:  # a named tuple of the lpips package, which publishes no types
        """x (B, 3, H, W) -> the features of each layer."""
        with half_precision(x.device):
            features = self.trunk(x)
        return type(features)(*(feature.float() for feature in features))


class LPIPSLoss(nn.Module):
    """Perceptual distance of frames; x and x_hat in [-1, 1], as the network expects."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, step: StepOutput, x: Tensor) -> Tensor:
        """Scalar >= 0."""
        with full_precision(x.device):
            distance: Tensor = self.network(fold(step.x_hat).float(), fold(x).float())
        return distance.mean()


class LPIPSConfig(WeightedConfig):
    """LPIPS, a distance of deep features (arXiv 1801.03924), with weights from local files."""

    kind: Literal["lpips"] = "lpips"
    net: Literal["alex", "vgg"] = "vgg"
    backbone: Path | None = None
    linear: Path | None = None
    precision: Precision = Field("fp32", description="of the trunk; the distances are always float32")

    def build(self) -> LPIPSLoss:
        """The loss.

        Raises:
            ValueError: if a weight file is missing, saying which and where it comes from.
        """
        network = build_lpips(self.net, self.backbone, self.linear)
        if self.precision == "bf16":
            network.net = HalfTrunk(network.get_submodule("net"))
        return LPIPSLoss(network)
