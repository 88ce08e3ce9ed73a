"""Queries that read a memory: self-attention among them, cross-attention to it, a feed-forward (Q-Former, DETR).

Letters: B batch, Q queries, M places of the memory, D width, G heads.
"""

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from tokenizer.layers.transformer import GELUFeedForward, init_linear


class CrossAttention(nn.Module):
    """Softmax attention of queries to keys that carry values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query (B, Q, D), key and value (B, M, D) -> (B, Q, D)."""
        q, k, v = (
            rearrange(layer(x), "b n (g k) -> b g n k", g=self.heads)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        h = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(rearrange(h, "b g n k -> b n (g k)"))
        return out


class QueryBlock(nn.Module):
    """Queries attend to one another, then to the memory, each behind a norm; positions join queries and keys only.

    Source: Carion et al. 2020, End-to-End Object Detection with Transformers (DETR), arXiv 2005.12872, appendix A.3.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.cross = CrossAttention(width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.feed_forward = GELUFeedForward(width, bias=True)
        self.apply(init_linear)

    def forward(self, queries: Tensor, memory: Tensor, at: Tensor, memory_at: Tensor) -> Tensor:
        """queries (B, Q, D), memory (B, M, D), their positions (1, Q, D), (1, M, D) -> queries' shape."""
        h = self.norm1(queries)
        queries = queries + self.attention(h + at, h + at, h)
        queries = queries + self.cross(self.norm2(queries) + at, memory + memory_at, memory)
        out: Tensor = queries + self.feed_forward(self.norm3(queries))
        return out
