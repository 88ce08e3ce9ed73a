"""How sharp reconstructions are: the energy of their Laplacian over that of the originals.

Letters: B pictures, H W rows and columns.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eval.metrics.score import check_pair

_LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
_LUMA = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)


class Sharpness:
    """Ratio of the energies of the Laplacian of the luma, over all pictures: 1 as sharp, below 1 blurred, above
    1 with detail or noise that was not there.

    The luma is that of ITU-R BT.601. The Laplacian's energy falls when a picture loses focus.
    """

    def __init__(self) -> None:
        self._real = 0.0
        self._fake = 0.0

    def update(self, real: Tensor, fake: Tensor) -> None:
        """Add pairs: uint8 (B, 3, H, W) both."""
        check_pair(real, fake)
        self._real += _energy(real)
        self._fake += _energy(fake)

    def compute(self) -> float:
        """The ratio; ValueError if the originals have no detail at all."""
        if self._real == 0.0:
            raise ValueError("the originals are flat: their sharpness is 0")
        return self._fake / self._real


def _energy(pictures: Tensor) -> float:
    luma = torch.einsum("c,bchw->bhw", _LUMA, pictures.cpu().double()).unsqueeze(1)
    return float(F.conv2d(luma, _LAPLACIAN.view(1, 1, 3, 3)).square().sum())  # (B, 1, H - 2, W - 2)
