"""Positions of sequences that begin with a picture's patches and end with a row of tokens.

Letters: B batch, H' W' patches, N tokens of the row, K <= N of them there, D width.
"""

import torch
from torch import Tensor, nn

from tokenizer.layers.transformer import Grid, angles_at

DEVIATION = 0.02


class RowPositions(nn.Module):
    """Positions of a sequence that begins with a grid and ends with a row of tokens.

    The grid has those of ``grid_positions``, the row learned ones. A token of the row does not turn, so that where
    it stands tells nothing of a place in the picture; or it is ``placed`` and turns as a patch at its place would.

    Args:
        grid_positions: (tokens, grid) -> (tokens, angles or None).
        num_tokens: N.
        width: D.
        placed: whether tokens have places, see ``spread``; the grid's positions then turn.
    """

    def __init__(
        self, grid_positions: nn.Module, num_tokens: int, width: int, *, placed: bool = False
    ) -> None:
        super().__init__()
        self.grid_positions = grid_positions
        self.placed = placed
        self.table = nn.Parameter(DEVIATION * torch.randn(num_tokens, width))

    def forward(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """tokens (B, H' W' + K, D), K at most N; the angles (H' W' + K, channels of a head / 2) or None."""
        cells = grid[0] * grid[1]
        patches, angles = self.grid_positions(tokens[:, :cells], grid)
        row = tokens[:, cells:]
        row = row + self.table[: row.shape[1]].to(row)
        if self.placed and angles is not None:
            turns = angles_at(spread(row.shape[1], grid).to(angles), 2 * angles.shape[1])
            return torch.cat([patches, row], dim=1), torch.cat([angles, turns])
        return torch.cat([patches, row], dim=1), with_row(angles, row.shape[1])


def spread(count: int, grid: Grid) -> Tensor:
    """Places (N, 2) float32 of tokens in cells of a grid of rows and columns: any first few cover all of it evenly.

    Source: Halton 1960, On the efficiency of certain quasi-random sequences of points in evaluating multi-dimensional
    integrals (bases 2 and 3).
    """
    places = [(_reversed(index + 1, 2), _reversed(index + 1, 3)) for index in range(count)]
    return torch.tensor(places) * torch.tensor([float(side) for side in grid]) - 0.5


def _reversed(number: int, base: int) -> float:
    """The digits of a number behind the point in reverse: within 0 and 1."""
    value, scale = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        scale /= base
        value += digit * scale
    return value


def with_row(angles: Tensor | None, count: int) -> Tensor | None:
    """Angles of a grid (H' W', ...), or none -> those of the grid and ``count`` tokens after it that do not turn."""
    if angles is None:
        return None
    return torch.cat([angles, angles.new_zeros(count, angles.shape[1])])


def causal_row(cells: int, num_tokens: int, device: torch.device) -> Tensor:
    """Who sees whom in ``cells`` patches followed by a row: (cells + N, cells + N) bool.

    Patches see patches; a token of the row sees all patches, itself and the tokens before it.

    Source: Wen et al. 2025, "Principal Components" Enable A New Language of Images (Semanticist), arXiv 2503.08685,
    section 3 (a causal row of concept tokens).
    """
    count = cells + num_tokens
    lower = torch.ones(count, count, dtype=torch.bool, device=device).tril()
    return lower | (torch.arange(count, device=device) < cells)
