"""Queries and their memory: parity with torch's attention, order of the memory only through its positions."""

import torch
from torch import nn

from tokenizer.layers.queries import CrossAttention, QueryBlock


def test_attention_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = CrossAttention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    torch.testing.assert_close(ours(query, key, value), theirs(query, key, value, need_weights=False)[0])


def test_a_memory_without_positions_has_no_order() -> None:
    torch.manual_seed(0)
    block = QueryBlock(8, 2)
    queries, memory = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    at, nowhere = torch.randn(1, 3, 8), torch.zeros(1, 5, 8)
    turned = memory.flip(1)
    torch.testing.assert_close(block(queries, memory, at, nowhere), block(queries, turned, at, nowhere))
    somewhere = 5 * torch.randn(1, 5, 8)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    assert not torch.allclose(block(queries, memory, at, somewhere), block(queries, turned, at, somewhere))
