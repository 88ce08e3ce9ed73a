"""What requests and answers hold, as checked on the way in and described in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from service.codecs import Output
from service.registry.served import MAX_PROMPT_CHARACTERS
from tokenizer.core.config import Config

MAX_SEED = 2**53 - 1  # the largest whole number that every JSON reader keeps exact


class Query(BaseModel):
    """Parameters after the question mark; unknown ones are refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(None, description="Name in GET /v1/models; the default model without it.")


class EncodeQuery(Query):
    """Parameters of /v1/encode."""

    what: Literal["latent", "indices"] = Field(
        "latent", description="The latent, or the codes of a discrete tokenizer (uint16 or uint32)."
    )
    format: Literal["safetensors", "npy", "png"] = Field(
        "safetensors", description="The latent as a file, or as a picture (png)."
    )
    view: Literal["rgb", "channels"] = Field(
        "rgb", description="With format=png: three principal components as colours, or every channel in grey."
    )


class PictureQuery(Query):
    """Parameters of routes that answer pictures."""

    output: Output = Field("png", description="Format of the answer; npy is uint8 (H, W, 3).")


class GenerateRequest(Config):
    """Body of /v1/generate."""

    label: StrictInt | StrictStr | None = Field(
        None, description="Class, by index or by name, for models conditioned on classes."
    )
    prompt: StrictStr | None = Field(
        None, max_length=MAX_PROMPT_CHARACTERS, description="Text, for models conditioned on texts."
    )
    negative_prompt: StrictStr | None = Field(
        None, max_length=MAX_PROMPT_CHARACTERS, description="What the picture should not show; with `prompt`."
    )
    model: StrictStr | None = Field(
        None, description="A generator of GET /v1/models; the default without it."
    )
    num_images: StrictInt = Field(
        1, ge=1, description="Pictures; picture i starts from the noise of seed + i."
    )
    num_steps: StrictInt | None = Field(None, ge=1, description="Sampling steps; the model's own without it.")
    guidance: float | None = Field(
        None,
        ge=0.0,
        allow_inf_nan=False,
        description="Classifier-free guidance, 1 is none; the model's own without it.",
    )
    seed: StrictInt | None = Field(None, ge=0, le=MAX_SEED, description="Random, and told, without it.")
    size: tuple[StrictInt, StrictInt] | None = Field(
        None,
        description="[height, width]: one of the model's `sizes`, or multiples of its `size_multiple`; else its own.",
    )
    output: Literal["png", "jpeg", "webp", "npy", "latent"] = Field(
        "png", description="Format of the pictures, or the latents as safetensors."
    )
    stream: StrictBool = Field(
        False, description="Answer by server-sent events: progress, preview, then result or error."
    )
    previews: StrictBool = Field(
        True, description="With stream: small JPEGs of the first picture as it would be by now."
    )
    progress_every: StrictInt = Field(1, ge=1, description="With stream: steps between two events.")


class PictureItem(BaseModel):
    """One of several pictures."""

    index: int
    b64: str = Field(description="The file, base64.")


class PicturesAnswer(BaseModel):
    """Several pictures."""

    seed: int | None = None
    size: tuple[int, int]
    spec_id: str
    media_type: str
    data: list[PictureItem]


class CodesAnswer(BaseModel):
    """What the indices of a discrete tokenizer are."""

    codebook_size: int = Field(description="Codes that one index chooses from.")
    num_codebooks: int = Field(description="Indices at each position.")
    scales: list[int] | None = Field(
        description="Sides of the token maps, coarse to fine; null for one grid."
    )
    index_dtype: Literal["uint16", "uint32"]
    bits_per_index: float


class TokenizerAnswer(BaseModel):
    """A tokenizer of the registry."""

    name: str
    kind: Literal["tokenizer"]
    default: bool
    spec_id: str
    spec: dict[str, Any] = Field(description="LatentSpec as JSON.")
    codes: CodesAnswer | None = Field(description="null where the latent is continuous.")
    licence: str | None
    figures: dict[str, Any] | None = Field(description="What was measured on these weights.")
    weights_bytes: int


class GeneratorAnswer(BaseModel):
    """A generator of the registry."""

    name: str
    kind: Literal["generator"]
    default: bool
    spec_id: str
    tokenizer: str = Field(description="The served tokenizer that decodes for it.")
    class_names: list[str]
    sizes: list[tuple[int, int]]
    num_steps: int
    guidance: float
    licence: str | None
    figures: dict[str, Any] | None
    weights_bytes: int


class LimitsAnswer(BaseModel):
    """What the server takes."""

    max_body_bytes: int
    max_pixels: int
    max_images: int
    max_steps: int
    max_guidance: float


class ModelsAnswer(BaseModel):
    """Answer of /v1/models."""

    data: list[TokenizerAnswer | GeneratorAnswer]
    limits: LimitsAnswer


class StatusAnswer(BaseModel):
    """Answer of the health routes."""

    status: Literal["alive", "ready"]


class CancelAnswer(BaseModel):
    """Answer of DELETE /v1/requests/{request_id}."""

    id: str
    cancelled: Literal[True]


class ErrorFacts(BaseModel):
    """The one shape of every error; some carry further facts."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str = Field(description="What is wrong and what to do about it.")
    param: str | None = Field(description="The parameter, header or metadata key at fault.")


class ErrorAnswer(BaseModel):
    """Body of every answer that is not a success."""

    error: ErrorFacts
