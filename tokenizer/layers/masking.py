"""Patches that an encoder does not see: a learned token stands in their place.

Letters: B batch, N patches, D width.
"""

import torch
from torch import Tensor, nn


class MaskToken(nn.Module):
    """One learned token for every hidden patch; positions are added to it as to any other.

    Source: He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, arXiv 2111.06377, section 3 (there in the
    decoder); Chen et al. 2025, Masked Autoencoders Are Effective Tokenizers for Diffusion Models, arXiv 2502.03444,
    section 3.2 (in the encoder).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, tokens: Tensor, hidden: Tensor | None) -> Tensor:
        """tokens (B, N, D), hidden bool (B, N) or None -> the same shape, the learned token where hidden."""
        if hidden is None:
            # The token takes part with a gradient of zero, so that processes need not know who hides what.
            return tokens + 0.0 * self.token.to(tokens)
        return torch.where(hidden.to(tokens.device).unsqueeze(2), self.token.to(tokens), tokens)


def mask_tokens(mask: MaskToken | None, tokens: Tensor, hidden: Tensor | None) -> Tensor:
    """``tokens`` (B, N, D) with the hidden ones masked.

    Raises:
        ValueError: if some are to be hidden by an encoder that has nothing to put there.
    """
    if mask is not None:
        return mask(tokens, hidden)  # type: ignore[no-any-return]  # nn.Module's __call__
    if hidden is not None:
        raise ValueError("this encoder has no token for hidden patches: give model.backbone.mask_token=true")
    return tokens
