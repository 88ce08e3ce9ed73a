"""The I3D network by which rFVD is defined, in the two forms that the field uses, from a file on this machine.

``videogpt``: a table of weights; the network is here, its names those of the file. ``styleganv``: a TorchScript
program with the network inside. A program is run, so only the published one is, known by its hash.

Source: Carreira and Zisserman 2017, Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, arXiv
    1705.07750, figure 3.

Letters: B clips, C channels, T frames, H W rows and columns.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval.errors import NotComputedError
from eval.features import full_float32
from eval.protocols.video import FVDSettings, I3DVariant
from eval.weights import VARIABLE, WeightsConfig, WeightsRecord, default_folder
from tokenizer.core.checkpoint import sha256_of

SIDE = 224
MIN_FRAMES = 9  # the last pooling takes two of the eighth part, rounded up three times
NUM_LOGITS = 400
FILES: dict[I3DVariant, str] = {"styleganv": "i3d_torchscript.pt", "videogpt": "i3d_pretrained_400.pt"}
# Of the file that StyleGAN-V's evaluation reads, 51,235,320 bytes. For VideoGPT's no hash was published.
SHA256: dict[I3DVariant, str] = {
    "styleganv": "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2"
}


class VideoWeights(WeightsConfig):
    """Where the weights of metrics lie; those of I3D as files too."""

    i3d_styleganv: Path | None = None
    i3d_videogpt: Path | None = None


class Unit(nn.Module):
    """Convolution that keeps ceil(size / stride), batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T, H, W) -> (B, C', T', H', W')."""
        kernel, stride = self.conv3d.kernel_size, self.conv3d.stride
        h: Tensor = F.relu(self.bn(self.conv3d(same(x, kernel, stride))))
        return h


class Pool(nn.Module):
    """Maximum that keeps ceil(size / stride); the border counts as zeros."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T, H, W) -> (B, C, T', H', W')."""
        return F.max_pool3d(same(x, self.kernel, self.stride), self.kernel, self.stride)


class Mixed(nn.Module):
    """Four branches side by side: 1, 1 and 3, 1 and 3, pooling and 1."""

    def __init__(self, in_channels: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = Unit(in_channels, widths[0], 1)
        self.b1a = Unit(in_channels, widths[1], 1)
        self.b1b = Unit(widths[1], widths[2], 3)
        self.b2a = Unit(in_channels, widths[3], 1)
        self.b2b = Unit(widths[3], widths[4], 3)
        self.b3a = Pool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(in_channels, widths[5], 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T, H, W) -> (B, sum of four widths, T, H, W)."""
        branches = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x)))
        return torch.cat(branches, dim=1)


class Head(nn.Module):
    """The last layer, a convolution of one position with bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T, H, W) -> (B, C', T, H, W)."""
        h: Tensor = self.conv3d(x)
        return h


class I3D(nn.Module):
    """Clips (B, 3, T, 224, 224), T at least 9 -> logits (B, 400), their mean over time."""

    def __init__(self) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": Unit(3, 64, 7, 2),
            "MaxPool3d_2a_3x3": Pool((1, 3, 3), (1, 2, 2)),
            "Conv3d_2b_1x1": Unit(64, 64, 1),
            "Conv3d_2c_3x3": Unit(64, 192, 3),
            "MaxPool3d_3a_3x3": Pool((1, 3, 3), (1, 2, 2)),
            "Mixed_3b": Mixed(192, (64, 96, 128, 16, 32, 32)),
            "Mixed_3c": Mixed(256, (128, 128, 192, 32, 96, 64)),
            "MaxPool3d_4a_3x3": Pool((3, 3, 3), (2, 2, 2)),
            "Mixed_4b": Mixed(480, (192, 96, 208, 16, 48, 64)),
            "Mixed_4c": Mixed(512, (160, 112, 224, 24, 64, 64)),
            "Mixed_4d": Mixed(512, (128, 128, 256, 24, 64, 64)),
            "Mixed_4e": Mixed(512, (112, 144, 288, 32, 64, 64)),
            "Mixed_4f": Mixed(528, (256, 160, 320, 32, 128, 128)),
            "MaxPool3d_5a_2x2": Pool((2, 2, 2), (2, 2, 2)),
            "Mixed_5b": Mixed(832, (256, 160, 320, 32, 128, 128)),
            "Mixed_5c": Mixed(832, (384, 192, 384, 48, 128, 128)),
        }
        self.order = tuple(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.logits = Head(1024, NUM_LOGITS)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, T, 224, 224) -> (B, 400)."""
        for name in self.order:
            x = self.get_submodule(name)(x)
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)
        logits: Tensor = self.logits(x)  # (B, 400, T', 1, 1)
        return logits.mean(dim=(2, 3, 4))


def same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """x (B, C, T, H, W) with zeros around, so that a walk gives ceil(size / stride) steps; the odd one at the end."""
    widths: list[int] = []
    for size, wide, step in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        missing = max(wide - (size % step or step), 0)
        widths += [missing // 2, missing - missing // 2]
    return F.pad(x, widths)


def as_network_sees(x: Tensor, settings: FVDSettings) -> Tensor:
    """Frames (T, 3, H, W), uint8 or float in [-1, 1] -> one clip (1, 3, T, 224, 224), float32."""
    unit = x.float() / 255.0 if x.dtype == torch.uint8 else (x.float() + 1.0) / 2.0
    height, width = unit.shape[-2:]
    if settings.resize == "square":
        size = (SIDE, SIDE)
    else:
        scale = SIDE / min(height, width)
        size = (SIDE, _ceil(width * scale)) if height < width else (_ceil(height * scale), SIDE)
    unit = F.interpolate(unit, size=size, mode="bilinear", align_corners=False)
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    unit = unit[..., top : top + SIDE, left : left + SIDE]
    return (settings.low + (settings.high - settings.low) * unit).transpose(0, 1).unsqueeze(0)


def load_extractor(
    variant: I3DVariant, config: WeightsConfig, device: torch.device
) -> tuple[Callable[[Tensor], Tensor], WeightsRecord]:
    """(clips (B, 3, T, 224, 224) -> logits (B, 400) on the CPU, the file it was read from).

    Raises:
        NotComputedError: if the file is not on this machine.
        ValueError: if it is not that network, or a program that was not published.
    """
    path = _find(variant, config)
    digest = sha256_of(path)
    record = WeightsRecord(f"i3d_{variant}", path.name, digest, digest == SHA256.get(variant))
    if variant == "styleganv":
        if not record.verified:
            raise ValueError(
                f"{path} has sha256 {digest}, not {SHA256[variant]}: it is a program, and only the published one is run"
            )
        network = _program(path, device)
    else:
        network = _network(path).to(device)

    @torch.inference_mode()
    def extract(clips: Tensor) -> Tensor:
        with full_float32():
            logits: Tensor = network(clips.to(device))
        return logits.float().cpu()

    return extract, record


def _network(path: Path) -> I3D:
    content: Any = torch.load(path, map_location="cpu", weights_only=True)
    network = I3D()
    try:
        network.load_state_dict(content)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold the weights of I3D: {error}") from None
    return network.eval().requires_grad_(False)


def _program(path: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        # the published file is TorchScript, which torch keeps reading while it advises against writing it
        for category in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        program: Any = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]  # torch's
    program.eval()

    def run(clips: Tensor) -> Tensor:
        logits: Tensor = program(clips, rescale=False, resize=False, return_features=True)
        return logits

    return run


def _find(variant: I3DVariant, config: WeightsConfig) -> Path:
    given: Path | None = getattr(config, f"i3d_{variant}", None)
    if given is not None:
        if not given.is_file():
            raise ValueError(f"weights.i3d_{variant}={given}: no such file")
        return given
    folder = config.folder or default_folder()
    if folder is not None and (folder / FILES[variant]).is_file():
        return folder / FILES[variant]
    raise NotComputedError(
        f"{FILES[variant]} (I3D of {variant})",
        f"into a folder given as weights.folder=FOLDER or {VARIABLE}, or give the file as weights.i3d_{variant}=FILE",
    )


def _ceil(value: float) -> int:
    return int(-(-value // 1))
