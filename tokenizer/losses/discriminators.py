"""Networks that tell pictures and clips from reconstructions.

Letters: B batch, T frames, H W rows and columns.
"""

from torch import Tensor, nn

from tokenizer.layers.frames import fold, unfold


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches: strided convolutions that see about 70 pixels each at three layers.

    Norms are group norms: batch statistics would make the judgement of one picture depend on its neighbours and
    one process differ from two.

    Source: Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, arXiv 1611.07004,
    appendix 6.1.2 (the 70x70 PatchGAN).
    """

    def __init__(self, width: int = 64, num_layers: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels = width
        for layer in range(1, num_layers + 1):
            out_channels = width * min(2**layer, 8)
            stride = 2 if layer < num_layers else 1
            layers += [
                nn.Conv2d(channels, out_channels, 4, stride=stride, padding=1, bias=False),
                nn.GroupNorm(min(32, out_channels // 4), out_channels),
                nn.LeakyReLU(0.2),
            ]
            channels = out_channels
        layers.append(nn.Conv2d(channels, 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, *S) in [-1, 1] -> logits (B, 1, h, w), of clips (B, 1, T, h, w), positive for real."""
        logits: Tensor = self.layers(fold(x))
        return unfold(logits, x.shape[0]) if x.ndim == 5 else logits


class ClipDiscriminator(nn.Module):
    """The same in three dimensions: judges overlapping patches of a few frames, so that it sees how things move.

    The first layer keeps all frames, each further strided one halves them; one frame is a clip too.

    Source: Isola et al. 2017, arXiv 1611.07004, appendix 6.1.2, with 3D kernels; Li et al. 2024, WF-VAE, arXiv
    2411.17459, section 3.3 (which trains against a 3D one).
    """

    def __init__(self, width: int = 64, num_layers: int = 3) -> None:
        super().__init__()
        kernel, padding = (3, 4, 4), (1, 1, 1)
        layers: list[nn.Module] = [nn.Conv3d(3, width, kernel, (1, 2, 2), padding), nn.LeakyReLU(0.2)]
        channels = width
        for layer in range(1, num_layers + 1):
            out_channels = width * min(2**layer, 8)
            stride = (2, 2, 2) if layer < num_layers else (1, 1, 1)
            layers += [
                nn.Conv3d(channels, out_channels, kernel, stride, padding, bias=False),
                nn.GroupNorm(min(32, out_channels // 4), out_channels),
                nn.LeakyReLU(0.2),
            ]
            channels = out_channels
        layers.append(nn.Conv3d(channels, 1, kernel, padding=padding))
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.normal_(module.weight, 0.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, T, H, W) in [-1, 1] -> logits (B, 1, t, h, w), positive for real."""
        logits: Tensor = self.layers(x)
        return logits
