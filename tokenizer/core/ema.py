"""An exponential moving average of weights whose memory is counted in images, not in steps."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class EMA:
    """Averages floating-point parameters and buffers in float32; copies the others.

    Args:
        module: whose state is followed (the unwrapped one).
        half_life: images after which an old weight counts half.
        ramp_up: early on the half-life is at most this share of the images seen.

    Source: Karras et al. 2024, EDM2, arXiv 2312.02696, appendix B.2 (half-life in images, ramp-up).
    """

    def __init__(self, module: nn.Module, half_life: float, ramp_up: float = 0.05) -> None:
        if half_life <= 0:
            raise ValueError(f"the half-life must be positive, got {half_life}")
        self.half_life = half_life
        self.ramp_up = ramp_up
        self.shadow = {
            name: value.detach().float().clone() if value.is_floating_point() else value.detach().clone()
            for name, value in module.state_dict().items()
        }

    def decay(self, images: int, batch: int) -> float:
        """Share of the old average that a step of ``batch`` images keeps when it ends at ``images`` seen."""
        half_life = min(self.half_life, max(self.ramp_up * images, 1e-8))
        return float(0.5 ** (batch / half_life))

    @torch.no_grad()
    def update(self, module: nn.Module, images: int, batch: int) -> None:
        """Move towards ``module`` after a step of ``batch`` images that ended at ``images`` seen."""
        decay = self.decay(images, batch)
        for name, value in module.state_dict().items():
            shadow = self.shadow[name]
            if shadow.is_floating_point():
                shadow.lerp_(value.detach().float(), 1.0 - decay)
            else:
                shadow.copy_(value)

    @torch.no_grad()
    def adopt(self, module: nn.Module, prefix: str) -> None:
        """Take what lies under a prefix of names as it is in ``module`` now, without what it was before."""
        for name, value in module.state_dict().items():
            if name.startswith(prefix):
                self.shadow[name].copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged state, by the module's names."""
        return dict(self.shadow)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore exactly what ``state_dict`` gave; every name must be there.

        Raises:
            ValueError: if names are missing or unknown.
        """
        if state.keys() != self.shadow.keys():
            wrong = sorted(state.keys() ^ self.shadow.keys())
            raise ValueError(f"the average does not belong to this model; first difference: {wrong[0]}")
        for name, value in state.items():
            self.shadow[name].copy_(value)
