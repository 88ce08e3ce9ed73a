"""Requests of OpenAI's images interface, what they mean here, and the shape of their answers."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field

from service.errors import InvalidParameter
from service.schemas import MAX_SEED
from tokenizer.core.config import Config

MAX_PROMPT_CHARACTERS = 32_000
MAX_PARTIAL_IMAGES = 3
SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
NO_EFFECT = "Accepted, without effect."

Format = Literal["png", "jpeg", "webp"]


class ImagesRequest(Config):
    """Body of /v1/images/generations. Numbers may come as text, as forms send them."""

    prompt: str = Field(
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        description="A class by index or name, or a text where the model takes one.",
    )
    model: str | None = Field(None, description="A generator of GET /v1/models; the default without it.")
    n: int | None = Field(
        None, ge=1, description="Pictures, 1 without it; picture i starts from the noise of seed + i."
    )
    size: str | None = Field(None, description="`WIDTHxHEIGHT`, or `auto`: the model's own, as without it.")
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="`b64_json`; `url` is refused, as pictures are not stored."
    )
    output_format: Format | None = Field(None, description="png without it.")
    output_compression: int | None = Field(
        None, ge=0, le=100, description="Quality of jpeg and webp; 95 and lossless without it."
    )
    background: Literal["opaque", "auto", "transparent"] | None = Field(
        None, description="`opaque` or `auto`; `transparent` is refused."
    )
    stream: bool | None = Field(None, description="Answer by server-sent events.")
    partial_images: int | None = Field(
        None,
        ge=0,
        le=MAX_PARTIAL_IMAGES,
        description="With stream: previews of the first picture on the way.",
    )
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Extension; random, and told, without it.")
    num_steps: int | None = Field(
        None,
        ge=1,
        validation_alias=AliasChoices("num_steps", "num_inference_steps"),
        description="Extension: sampling steps; the model's own without it.",
    )
    guidance: float | None = Field(
        None,
        ge=0.0,
        allow_inf_nan=False,
        validation_alias=AliasChoices("guidance", "guidance_scale"),
        description="Extension: classifier-free guidance, 1 is none; the model's own without it.",
    )
    negative_prompt: str | None = Field(
        None, max_length=MAX_PROMPT_CHARACTERS, description="Extension, for models that take one."
    )
    quality: Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"] | None = Field(
        None, description=NO_EFFECT
    )
    style: Literal["vivid", "natural"] | None = Field(None, description=NO_EFFECT)
    moderation: Literal["low", "auto"] | None = Field(None, description=NO_EFFECT)
    user: str | None = Field(None, description=NO_EFFECT)
    safety_identifier: str | None = Field(None, description=NO_EFFECT)

    @property
    def pixels(self) -> tuple[int, int] | None:
        """(height, width) that are asked for; None for the model's own.

        Raises:
            InvalidParameter: not of the form WIDTHxHEIGHT.
        """
        if self.size is None or self.size == "auto":
            return None
        match = SIZE.fullmatch(self.size)
        if match is None:
            raise InvalidParameter(
                f"size is {self.size[:32]!r}: write it as 256x256 (width x height), or auto", param="size"
            )
        return int(match[2]), int(match[1])

    def refuse_what_is_not_served(self) -> None:
        """What OpenAI's interface allows and this server cannot do.

        Raises:
            InvalidParameter: naming the parameter.
        """
        if self.response_format == "url":
            raise InvalidParameter(
                "response_format url is not served: pictures are not stored here, ask for b64_json",
                param="response_format",
            )
        if self.background == "transparent":
            raise InvalidParameter(
                "background transparent is not served: the models make opaque pictures, ask for opaque or auto",
                param="background",
            )
        if self.output_compression is not None and self.output_format not in ("jpeg", "webp"):
            raise InvalidParameter(
                "output_compression belongs to output_format jpeg or webp: name one of them, or leave it out",
                param="output_compression",
            )
        if self.partial_images and not self.stream:
            raise InvalidParameter(
                "partial_images come with stream: true only: set it", param="partial_images"
            )


class EditsRequest(ImagesRequest):
    """Fields of /v1/images/edits beside the files ``image`` and ``mask``."""

    strength: float = Field(
        0.6,
        ge=0.0,
        le=1.0,
        allow_inf_nan=False,
        description="Extension: how much is made anew, from 0, the reconstruction, to 1, which keeps nothing.",
    )
    input_fidelity: Literal["high", "low"] | None = Field(None, description=NO_EFFECT)


class ImageItem(BaseModel):
    """One picture."""

    b64_json: str = Field(description="The file, base64.")


class TokenDetails(BaseModel):
    """No tokens are counted here."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """No tokens are counted here; clients expect the fields."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: TokenDetails = TokenDetails()


class ImagesAnswer(BaseModel):
    """Answer of /v1/images/generations and /v1/images/edits."""

    created: int = Field(description="Seconds since 1970.")
    data: list[ImageItem]
    background: Literal["opaque"] = "opaque"
    output_format: Format
    quality: str | None = Field(description="As asked.")
    size: str = Field(description="`WIDTHxHEIGHT`.")
    usage: Usage = Usage()
    seed: int = Field(description="Extension: picture i starts from the noise of seed + i.")
