"""What a request may say of tokens, steps and noise, checked against the tokenizer that it names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from service.engine.decoding import Decoding
from service.errors import InvalidParameter

if TYPE_CHECKING:
    from service.registry import ServedTokenizer
    from service.schemas import DecodingQuery
    from tokenizer.spec import LatentSpec


def check_tokens(num_tokens: int | None, spec: LatentSpec) -> int | None:
    """``num_tokens`` if a latent of this tokenizer can be cut to so many.

    Raises:
        InvalidParameter: it cannot, saying what it has.
    """
    if num_tokens is None:
        return None
    if len(spec.parts) != 1 or spec.z.layout != "1d":
        raise InvalidParameter(
            "this tokenizer's latent is no row of tokens: leave num_tokens out, or name a tokenizer whose spec has "
            "layout 1d (GET /v1/models)",
            param="num_tokens",
        )
    try:
        spec.z.check_tokens(num_tokens)
    except ValueError as error:
        low, high = spec.z.token_range
        raise InvalidParameter(
            f"{error}: ask for one of those", param="num_tokens", details={"least": low, "most": high}
        ) from None
    return num_tokens


def decoding_of(query: DecodingQuery, model: ServedTokenizer, max_steps: int) -> Decoding:
    """Tokens, steps and seed of a request.

    Raises:
        InvalidParameter: the tokenizer has no such thing, or not so many.
    """
    spec = model.spec
    num_tokens = check_tokens(query.num_tokens, spec)
    for name in ("num_steps", "seed"):
        if getattr(query, name) is not None and spec.num_steps is None:
            raise InvalidParameter(
                f"tokenizer {model.name!r} computes its pictures and draws nothing: leave {name} out, or name a "
                "tokenizer whose spec has num_steps (GET /v1/models)",
                param=name,
            )
    if query.num_steps is not None and query.num_steps > max_steps:
        raise InvalidParameter(
            f"num_steps is {query.num_steps}, this server takes up to {max_steps}: ask for less",
            param="num_steps",
        )
    return Decoding(num_tokens, query.num_steps, query.seed)


def cost_of(pixels: int, decoding: Decoding, spec: LatentSpec) -> int:
    """What admission counts for decoding so many pixels: in proportion to the steps, where a request chooses them."""
    if decoding.num_steps is None or spec.num_steps is None:
        return pixels
    return math.ceil(pixels * decoding.num_steps / spec.num_steps)
