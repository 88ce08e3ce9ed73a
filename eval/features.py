"""The Inception network that FID is defined by, its two resizes, and its preprocessing.

This is the 2015 network ported from TensorFlow, not torchvision's: average pooling leaves the padding out,
and the last block takes a maximum. Names of the modules follow the published file so that it loads as it is.
Sources: Szegedy et al. 2016, Rethinking the Inception Architecture, arXiv 1512.00567 (figures 5 to 7); Heusel
    et al. 2017, GANs Trained by a Two Time-Scale Update Rule, arXiv 1706.08500 (FID).

Letters: B pictures, C channels, H W rows and columns.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval.folding import fold_norms
from eval.pixels import clean_resize
from eval.protocols import Resize
from eval.weights import WeightsConfig, WeightsRecord, find, load, record

NUM_FEATURES = 2048
NUM_LOGITS = 1008
SPATIAL_CHANNELS = 7


class ConvNormReLU(nn.Module):
    """Convolution without bias, batch norm (eps 0.001), ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', H', W')."""
        return F.relu(self.linear(x), inplace=True)

    def linear(self, x: Tensor) -> Tensor:
        """The same without ReLU."""
        h: Tensor = self.bn(self.conv(x))
        return h


def average_pool(x: Tensor) -> Tensor:
    """3x3 mean of the neighbours that exist: TensorFlow does not count the padding."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def pooled(branch: ConvNormReLU, x: Tensor) -> Tensor:
    """A 1x1 branch after the average pool; the mean of a linear map is the map of the mean, and it is narrower."""
    return F.relu(average_pool(branch.linear(x)), inplace=True)


def max_pool(x: Tensor) -> Tensor:
    """3x3 maximum, same size."""
    return F.max_pool2d(x, 3, stride=1, padding=1)


class Mixed35(nn.Module):
    """Block at 35x35: 1x1, 5x5, two 3x3, pool."""

    def __init__(self, in_channels: int, pool_features: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNormReLU(in_channels, 64, 1)
        self.branch5x5_1 = ConvNormReLU(in_channels, 48, 1)
        self.branch5x5_2 = ConvNormReLU(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = ConvNormReLU(in_channels, 64, 1)
        self.branch3x3dbl_2 = ConvNormReLU(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvNormReLU(96, 96, 3, padding=1)
        self.branch_pool = ConvNormReLU(in_channels, pool_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, 224 + pool_features, H, W)."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, pooled(self.branch_pool, x)], dim=1)


class Reduction17(nn.Module):
    """From 35x35 to 17x17."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3 = ConvNormReLU(288, 384, 3, stride=2)
        self.branch3x3dbl_1 = ConvNormReLU(288, 64, 1)
        self.branch3x3dbl_2 = ConvNormReLU(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvNormReLU(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 288, H, W) -> (B, 768, H', W')."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], dim=1)


class Mixed17(nn.Module):
    """Block at 17x17: 1x1, one and two factorised 7x7, pool."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNormReLU(768, 192, 1)
        self.branch7x7_1 = ConvNormReLU(768, width, 1)
        self.branch7x7_2 = ConvNormReLU(width, width, (1, 7), padding=(0, 3))
        self.branch7x7_3 = ConvNormReLU(width, 192, (7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = ConvNormReLU(768, width, 1)
        self.branch7x7dbl_2 = ConvNormReLU(width, width, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = ConvNormReLU(width, width, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = ConvNormReLU(width, width, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = ConvNormReLU(width, 192, (1, 7), padding=(0, 3))
        self.branch_pool = ConvNormReLU(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 768, H, W) -> the same shape."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, pooled(self.branch_pool, x)], dim=1)


class Reduction8(nn.Module):
    """From 17x17 to 8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = ConvNormReLU(768, 192, 1)
        self.branch3x3_2 = ConvNormReLU(192, 320, 3, stride=2)
        self.branch7x7x3_1 = ConvNormReLU(768, 192, 1)
        self.branch7x7x3_2 = ConvNormReLU(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = ConvNormReLU(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = ConvNormReLU(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 768, H, W) -> (B, 1280, H', W')."""
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_2(self.branch7x7x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(seven))
        return torch.cat([three, seven, F.max_pool2d(x, 3, stride=2)], dim=1)


class Mixed8(nn.Module):
    """Block at 8x8 with branches that fan out; the very last one pools by maximum (a slip of 2015, kept)."""

    def __init__(self, in_channels: int, pool: Literal["average", "max"]) -> None:
        super().__init__()
        self.pool = pool
        self.branch1x1 = ConvNormReLU(in_channels, 320, 1)
        self.branch3x3_1 = ConvNormReLU(in_channels, 384, 1)
        self.branch3x3_2a = ConvNormReLU(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = ConvNormReLU(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = ConvNormReLU(in_channels, 448, 1)
        self.branch3x3dbl_2 = ConvNormReLU(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = ConvNormReLU(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = ConvNormReLU(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = ConvNormReLU(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, 2048, H, W)."""
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three)]
        average = self.pool == "average"
        pool = pooled(self.branch_pool, x) if average else self.branch_pool(max_pool(x))
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), pool]
        return torch.cat(parts, dim=1)


@dataclass(frozen=True, slots=True)
class InceptionOutputs:
    """What metrics read of one batch.

    Attributes:
        pool: (B, 2048), the last features averaged over positions: FID, KID, precision and recall.
        spatial: (B, 2023), seven channels of the third block at 17x17, positions first: sFID.
        logits: (B, 1008), the classifier without its bias: IS.
    """

    pool: Tensor
    spatial: Tensor
    logits: Tensor


class FIDInception(nn.Module):
    """Pictures at 299x299, scaled as TensorFlow did, to 2048 pooled features. Inference only."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNormReLU(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvNormReLU(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvNormReLU(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = ConvNormReLU(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNormReLU(80, 192, 3)
        self.Mixed_5b = Mixed35(192, pool_features=32)
        self.Mixed_5c = Mixed35(256, pool_features=64)
        self.Mixed_5d = Mixed35(288, pool_features=64)
        self.Mixed_6a = Reduction17()
        self.Mixed_6b = Mixed17(128)
        self.Mixed_6c = Mixed17(160)
        self.Mixed_6d = Mixed17(160)
        self.Mixed_6e = Mixed17(192)
        self.Mixed_7a = Reduction8()
        self.Mixed_7b = Mixed8(1280, pool="average")
        self.Mixed_7c = Mixed8(2048, pool="max")
        self.fc = nn.Linear(NUM_FEATURES, NUM_LOGITS)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, 299, 299) about [-1, 1] -> the pooled features (B, 2048)."""
        return self.outputs(x).pool

    def outputs(self, x: Tensor) -> "InceptionOutputs":
        """x (B, 3, 299, 299) about [-1, 1] -> everything that a metric reads."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, stride=2)
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, stride=2)  # (B, 192, 35, 35)
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))  # (B, 768, 17, 17)
        x = self.Mixed_6c(self.Mixed_6b(x))
        # TensorFlow's mixed_6/conv: the first branch of this block
        spatial = self.Mixed_6d.branch1x1(x)[:, :SPATIAL_CHANNELS]  # (B, 7, 17, 17)
        x = self.Mixed_6e(self.Mixed_6d(x))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # (B, 2048, 8, 8)
        pool = x.mean(dim=(2, 3))
        logits = F.linear(pool, self.fc.weight)
        return InceptionOutputs(pool, spatial.permute(0, 2, 3, 1).flatten(1), logits)


class InceptionFeatures:
    """Pictures -> features, the whole way: resize, scaling, network, float32 without TF32.

    Metrics of one job share it, and the last two batches' features with it: the network runs once a batch. The
    network given becomes this object's own: its norms are folded into its convolutions.
    """

    def __init__(
        self,
        network: FIDInception,
        record: WeightsRecord,
        device: torch.device,
        resize: Resize = "tf1_bilinear_299",
    ) -> None:
        fold_norms(network)
        self.network = network.to(device, torch.float32).to(memory_format=torch.channels_last).eval()
        self.network.requires_grad_(False)
        self.record = record
        self.device = device
        self.resize: Resize = resize
        self._recent: list[tuple[Tensor, InceptionOutputs]] = []  # the real and the fake side of a batch

    @classmethod
    def load(
        cls, config: WeightsConfig, device: torch.device, resize: Resize = "tf1_bilinear_299"
    ) -> "InceptionFeatures":
        """Read the weights from the file the user named; one network a file, device and resize.

        Raises:
            NotComputedError: naming the file and where to put it.
            ValueError: if the file's tensors are not those of this network.
        """
        found = record("inception", find("inception", config))
        key = (found, str(device), resize)
        if key not in _LOADED:
            tensors, found = load("inception", config)
            _LOADED[key] = shared = cls(_network(tensors, found), found, device, resize)
            return shared
        return _LOADED[key]

    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) -> pooled features, float32 (B, 2048) on the CPU."""
        return self.outputs(pictures).pool

    @torch.inference_mode()
    def outputs(self, pictures: Tensor) -> InceptionOutputs:
        """Pictures (B, 3, H, W), uint8 or (only with PyTorch's resize) float in [-1, 1] -> all on the CPU.

        Raises:
            ValueError: for floats where the resize is TensorFlow's, whose graph takes bytes.
        """
        for seen, outputs in self._recent:
            if seen is pictures:
                return outputs
        x = self._scaled(pictures.to(self.device)).contiguous(memory_format=torch.channels_last)
        with full_float32():
            made = self.network.outputs(x)
        outputs = InceptionOutputs(made.pool.cpu(), made.spatial.cpu(), made.logits.cpu())
        self._recent = [*self._recent[-1:], (pictures, outputs)]
        return outputs

    def _scaled(self, pictures: Tensor) -> Tensor:
        if self.resize == "tf1_bilinear_299":
            if pictures.dtype != torch.uint8:
                raise ValueError(f"these FID features are taken of uint8 pictures, got {pictures.dtype}")
            return (tf1_resize(pictures.float(), 299) - 128.0) / 128.0
        if self.resize == "clean_bicubic_299":
            if pictures.dtype != torch.uint8:
                raise ValueError(f"clean-fid resizes uint8 pictures, got {pictures.dtype}")
            return (clean_resize(pictures.cpu(), 299).to(self.device) - 128.0) / 128.0
        unit = pictures.float() / 255.0 if pictures.dtype == torch.uint8 else (pictures.float() + 1.0) / 2.0
        x = F.interpolate(unit, size=(299, 299), mode="bilinear", align_corners=False)
        return 2.0 * x - 1.0


_LOADED: "WeakValueDictionary[tuple[WeightsRecord, str, Resize], InceptionFeatures]" = WeakValueDictionary()


def _network(tensors: dict[str, Tensor], found: WeightsRecord) -> FIDInception:
    with torch.device("meta"):
        network = FIDInception()
    counters = {name for name in network.state_dict() if name.endswith("num_batches_tracked")}
    tensors = tensors | {name: torch.zeros((), dtype=torch.long) for name in counters - tensors.keys()}
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{found.file} does not hold the FID Inception network: {error}") from None
    return network


def tf1_resize(x: Tensor, side: int) -> Tensor:
    """Bilinear resize as TensorFlow 1 made it: x (B, C, H, W) -> (B, C, side, side).

    Output i reads input i * in / out, without the half-pixel offset of later libraries and without
    antialiasing; this is inside the 2015 graph and therefore part of FID.
    """
    for dim in (3, 2):
        length = x.shape[dim]
        positions = torch.arange(side, dtype=torch.float32) * torch.tensor(length / side, dtype=torch.float32)
        low = positions.long()
        high = (low + 1).clamp(max=length - 1)
        weight = (positions - low).to(x.device)
        shape = (1, 1, 1, side) if dim == 3 else (1, 1, side, 1)
        before = x.index_select(dim, low.to(x.device))
        x = before + (x.index_select(dim, high.to(x.device)) - before) * weight.view(shape)
    return x


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, CUDA runs convolutions and products in true float32 and autocast is off; restored after."""
    matmul, conv = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.backends.cudnn.allow_tf32 = conv
