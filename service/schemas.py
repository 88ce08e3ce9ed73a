"""What requests and answers hold, as checked on the way in and described in the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from service.codecs import Output
from service.engine.clip_jobs import ClipOutput
from service.engine.messages import Bundle
from service.registry.served import MAX_PROMPT_CHARACTERS
from service.wire import MAX_DIMENSIONS, LatentDtype, LatentFormat
from tokenizer.core.config import Config

MAX_SEED = 2**53 - 1  # the largest whole number that every JSON reader keeps exact
_NUM_TOKENS = "Of a latent that is a row of tokens, the first so many; all without it."


class Query(BaseModel):
    """Parameters after the question mark; unknown ones are refused, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(None, description="Name in GET /v1/models; the default model without it.")


class EncodeQuery(Query):
    """Parameters of /v1/encode."""

    what: Literal["latent", "indices"] = Field(
        "latent", description="The latent, or the codes of a discrete tokenizer (uint16 or uint32)."
    )
    format: Literal["safetensors", "npy", "raw", "png"] = Field(
        "safetensors", description="The latent as a file, as its elements alone, or as a picture (png)."
    )
    dtype: LatentDtype | None = Field(
        None,
        description="Elements of the latent, float32 without it; uint8 is quantised, with scale and offset.",
    )
    shape: str | None = Field(
        None,
        description="The body is raw uint8 pixels of this shape: height,width,3 or pictures,height,width,3.",
    )
    view: Literal["rgb", "channels"] = Field(
        "rgb", description="With format=png: three principal components as colours, or every channel in grey."
    )
    num_tokens: int | None = Field(None, ge=1, description=_NUM_TOKENS)


class DecodingQuery(Query):
    """Parameters of routes that decode."""

    num_tokens: int | None = Field(None, ge=1, description=_NUM_TOKENS)
    num_steps: int | None = Field(
        None, ge=1, description="Of a decoder that draws the pixels; the tokenizer's own without it."
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="Of the noise that such a decoder starts from; the same noise every time without it.",
    )


class TensorEncodeQuery(Query):
    """Parameters of /v1/tensors/encode."""

    num_tokens: int | None = Field(None, ge=1, description=_NUM_TOKENS)


class PictureQuery(DecodingQuery):
    """Parameters of routes that decode to pictures."""

    output: Output | ClipOutput | None = Field(
        None,
        description="Format of the answer, png without it and mp4 for clips; npy and raw are uint8 (H, W, 3).",
    )
    quality: int | None = Field(
        None,
        ge=0,
        le=100,
        description="Of jpeg (95 without it), webp (lossless without it), avif (80) and mp4 (65).",
    )


class ReconstructQuery(PictureQuery):
    """Parameters of /v1/reconstruct."""

    shape: str | None = Field(None, description="The body is raw uint8 pixels of this shape: height,width,3.")


class DecodeQuery(PictureQuery):
    """Parameters of /v1/decode; those of a raw tensor or npy array may be sent as headers x-tessera-NAME instead."""

    bundle: Bundle | None = Field(
        None,
        description="Pictures as JSON or as a zip archive; without it one comes alone and several as JSON.",
    )
    shape: str | None = Field(None, description="The body is a raw tensor of this shape.")
    dtype: Literal["float32", "float16", "bfloat16", "uint8", "uint16", "uint32"] | None = Field(
        None, description="Its elements, float32 without it; integers without scale are indices."
    )
    size: str | None = Field(
        None,
        description="Pixel size, height,width, of a clip frames,height,width; safetensors carry it themselves.",
    )
    frame_rate: str | None = Field(
        None,
        pattern=r"^[0-9]{1,9}(\.[0-9]{1,6}|/[1-9][0-9]{0,8})?$",
        description="Frames per second of an MP4, as 25 or 30000/1001; what the safetensors say, or 25, without it.",
    )
    spec: str | None = Field(
        None, description="Identity of the latent space; safetensors carry it themselves."
    )
    scale: str | None = Field(None, description="Of a quantised latent: one number a sample and channel.")
    offset: str | None = Field(None, description="Of a quantised latent: one number a sample and channel.")


class RemoteQuery(Query):
    """Parameters that both routes of diffusers' remote clients take, as its client sends them."""

    shape: list[Annotated[int, Field(ge=0, lt=2**31)]] | None = Field(
        None,
        max_length=MAX_DIMENSIONS,
        description="Of the tensor that is the body, repeated, outermost first.",
    )
    dtype: Literal["float32", "float16", "bfloat16", "uint8"] | None = Field(
        None, description="Elements of that tensor."
    )
    scaling_factor: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="z = (raw - shift_factor) * scaling_factor."
    )
    shift_factor: float | None = Field(None, allow_inf_nan=False, description="As above; 0 without it.")


class RemoteDecodeQuery(RemoteQuery):
    """Parameters of /v1/remote/decode."""

    image_format: Literal["jpg", "png"] = Field("jpg", description="Of pictures.")
    output_type: Literal["pil", "pt", "mp4"] = Field(
        "pil", description="A picture (or, with accept: tensor/binary, floats in [0, 1]), or a tensor."
    )
    partial_postprocess: bool = Field(
        False, description="With output_type=pt: uint8 (B, H, W, 3), not x_hat (B, 3, H, W)."
    )
    do_scaling: bool = Field(False, description="The latent is normalised as the tokenizer's own spec says.")
    height: int | None = Field(None, ge=1, description="Pixels; of packed latents, or to crop to.")
    width: int | None = Field(None, ge=1, description="Pixels.")
    input_tensor_type: Literal["binary"] = Field(
        "binary", description="What older clients say; nothing else."
    )
    output_tensor_type: Literal["binary"] = Field(
        "binary", description="What older clients say; nothing else."
    )


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
    output: Output | Literal["latent"] = Field("png", description="Format of the pictures, or their latents.")
    quality: StrictInt | None = Field(
        None, ge=0, le=100, description="Of jpeg (95 without it), webp (lossless without it) and avif (80)."
    )
    format: LatentFormat | None = Field(None, description="Of latents; safetensors without it.")
    dtype: LatentDtype | None = Field(None, description="Of latents, float32 without it; uint8 is quantised.")
    stream: StrictBool = Field(
        False, description="Answer by server-sent events: progress, preview, then result or error."
    )
    previews: StrictBool = Field(
        True, description="With stream: small JPEGs of the first picture as it would be by now."
    )
    progress_every: StrictInt = Field(1, ge=1, description="With stream: steps between two events.")


class KindQuery(Query):
    """Which of two models of one name."""

    kind: Literal["tokenizer", "generator"] | None = Field(
        None, description="Needed where a tokenizer and a generator share the name."
    )


class AddModelRequest(Config):
    """Body of POST /v1/models."""

    name: StrictStr = Field(
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="What requests will call it: letters, digits, dot, dash, underscore.",
    )
    path: StrictStr = Field(description="Its folder, below one of TESSERA_MODEL_FOLDERS.")


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


class ListedAnswer(BaseModel):
    """What OpenAI's clients read of a model in a list."""

    id: str = Field(description="Its name.")
    object: Literal["model"] = "model"
    created: int = Field(description="When its folder was last written, seconds since 1970.")
    owned_by: Literal["tessera"] = "tessera"


class ModelAnswer(ListedAnswer):
    """What a tokenizer and a generator of the registry have in common."""

    name: str
    default: bool = Field(description="Whether requests that name no model of its kind mean it.")
    spec_id: str
    family: str = Field(description="`tessera`, or the class of diffusers.")
    state: Literal["unloaded", "loading", "loaded", "failed"]
    memory_bytes: int = Field(description="That its weights hold on each device now.")
    load_seconds: float | None = Field(description="That the last load took, warm-up included.")
    in_use: int = Field(description="Requests that it works for.")
    error: str | None = Field(description="Why the last load failed.")


class TokenizerAnswer(ModelAnswer):
    """A tokenizer of the registry."""

    kind: Literal["tokenizer"]
    spec: dict[str, Any] = Field(description="LatentSpec as JSON.")
    codes: CodesAnswer | None = Field(description="null where the latent is continuous.")
    licence: str | None
    figures: dict[str, Any] | None = Field(description="What was measured on these weights.")
    weights_bytes: int


class GeneratorAnswer(ModelAnswer):
    """A generator of the registry."""

    kind: Literal["generator"]
    tokenizer: str | None = Field(
        description="The served tokenizer that decodes for it; null for a pipeline, which decodes by itself."
    )
    conditioning: Literal["class", "text"] = Field(description="Whether it takes `label` or `prompt`.")
    takes: list[str] = Field(description="Which of `guidance` and `negative_prompt` it takes.")
    class_names: list[str]
    sizes: list[tuple[int, int]]
    size_multiple: int | None = Field(
        description="Any sides that are multiples of it can be asked for; null: `sizes` only."
    )
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


class MemoryAnswer(BaseModel):
    """Memory of the models on each device."""

    used_bytes: int
    budget_bytes: int | None = Field(description="TESSERA_MODEL_MEMORY_BYTES; null for no limit.")


class ModelsAnswer(BaseModel):
    """Answer of GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[TokenizerAnswer | GeneratorAnswer]
    memory: MemoryAnswer
    limits: LimitsAnswer


class RemovedAnswer(BaseModel):
    """Answer of DELETE /v1/models/{name}, as OpenAI's."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


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
