"""A model as its folder describes it, and what a request may ask of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from service import codecs
from service.errors import InvalidParameter, TooManyPixels, UnknownLabel, WrongSize

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizer.spec import LatentSpec

Conditioning = Literal["class", "text"]
MAX_PROMPT_CHARACTERS = 32_000
# Far beyond any picture that is served; sizes are checked against the pixel limit too.
MAX_SIDE = 2**15


@dataclass(frozen=True, slots=True)
class ServedTokenizer:
    """A tokenizer as its folder describes it.

    Attributes:
        family: ``tessera``, or the class of diffusers that wrote the folder.
    """

    name: str
    path: Path
    spec: LatentSpec
    spec_id: str
    licence: str | None
    figures: dict[str, Any] | None  # JSON that is only passed on
    weights_bytes: int
    family: str = "tessera"


class Condition(NamedTuple):
    """What a generator makes pictures of: a class, or a text; the other is None."""

    label: int | None
    prompt: str | None
    negative_prompt: str | None


@dataclass(frozen=True, slots=True)
class ServedGenerator:
    """A generator as its folder describes it.

    Attributes:
        tokenizer: name of the served tokenizer of the same latent space; None for a pipeline, which decodes itself.
        class_names: label i is class_names[i]; empty if it takes prompts.
        sizes: (H, W) in pixels that it can make, its own first.
        num_steps, guidance: what a request gets that does not say.
        pipeline: the class of diffusers' pipeline, None for a generator of ours.
        size_multiple: it can make any size with sides that are multiples; None: ``sizes`` only.
        takes: names of its further parameters among negative_prompt, guidance.
    """

    name: str
    path: Path
    spec_id: str
    tokenizer: str | None
    class_names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    num_steps: int
    guidance: float
    licence: str | None
    figures: dict[str, Any] | None  # JSON that is only passed on
    weights_bytes: int
    conditioning: Conditioning = "class"
    pipeline: str | None = None
    size_multiple: int | None = None
    takes: frozenset[str] = field(default=frozenset({"guidance"}))

    def condition(
        self, label: int | str | None, prompt: str | None = None, negative_prompt: str | None = None
    ) -> Condition:
        """What a request asks for, checked: a label of a class-conditional model, a prompt of a text-conditional one.

        Raises:
            UnknownLabel: no such class; lists those there are.
            InvalidParameter: the other kind of condition, none at all, or one that the model does not take.
        """
        if self.conditioning == "class":
            for name, value in (("prompt", prompt), ("negative_prompt", negative_prompt)):
                if value is not None:
                    raise InvalidParameter(
                        f"generator {self.name!r} makes classes and takes no {name}: send label, an index from 0 to "
                        f"{len(self.class_names) - 1} or a name, or name a text-conditional model",
                        param=name,
                    )
            if label is None:
                raise InvalidParameter(
                    f"generator {self.name!r} makes classes: send label, an index from 0 to "
                    f"{len(self.class_names) - 1} or a name of GET /v1/models",
                    param="label",
                )
            return Condition(self.label(label), None, None)
        if label is not None:
            raise InvalidParameter(
                f"generator {self.name!r} makes what a text describes and knows no classes: send prompt, not label",
                param="label",
            )
        if prompt is None:
            raise InvalidParameter(f"generator {self.name!r} needs a text: send prompt", param="prompt")
        if negative_prompt is not None and "negative_prompt" not in self.takes:
            raise InvalidParameter(
                f"generator {self.name!r} takes no negative_prompt: leave it out", param="negative_prompt"
            )
        return Condition(None, prompt, negative_prompt)

    def label(self, label: int | str) -> int:
        """Index of a class given by index or name; one of several names that stand for a class between commas will do.

        Raises:
            UnknownLabel: listing classes.
        """
        if isinstance(label, str):
            if label in self.class_names:
                return self.class_names.index(label)
            for index, names in enumerate(self.class_names):
                if label and label in (name.strip() for name in names.split(",")):
                    return index
        elif 0 <= label < len(self.class_names):
            return label
        shown = ", ".join(self.class_names[:20]) + (", ..." if len(self.class_names) > 20 else "")
        raise UnknownLabel(
            f"no class {str(label)[:64]!r}: give an index from 0 to {len(self.class_names) - 1} or one of {shown}",
            param="label",
        )

    def size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """``size`` if it can be made; its own for None.

        Raises:
            WrongSize: telling those that it can make.
        """
        if size is None:
            return self.sizes[0]
        if size in self.sizes:
            return size
        step = self.size_multiple
        if step is not None and all(0 < side <= MAX_SIDE and side % step == 0 for side in size):
            return size
        known = " or ".join(f"[{height}, {width}]" for height, width in self.sizes)
        details: dict[str, object] = {"sizes": [list(known) for known in self.sizes]}
        if step is not None:
            known = f"sides that are multiples of {step}, its own are {known}"
            details["size_multiple"] = step
        raise WrongSize(
            f"generator {self.name!r} cannot make [{size[0]}, {size[1]}]: ask for {known}",
            param="size",
            details=details,
        )

    def check_output(self, output: str, size: tuple[int, int], max_pixels: int) -> None:
        """Refuse a picture that is too large, for this server or for the format, and latents of a pipeline.

        Raises:
            TooManyPixels, InvalidParameter.
        """
        if math.prod(size) > max_pixels:
            raise TooManyPixels(
                f"a picture of {size[1]}x{size[0]} has more than the {max_pixels} pixels that this server makes: ask "
                "for a smaller one",
                param="size",
                details={"max_pixels": max_pixels},
            )
        if output != "latent":
            codecs.check_output(output, size)
        elif self.pipeline is not None:
            raise InvalidParameter(
                f"generator {self.name!r} is a {self.pipeline} and answers pictures only: ask for output=png",
                param="output",
            )

    def checked_guidance(self, guidance: float | None) -> float:
        """``guidance``, or the model's own for None.

        Raises:
            InvalidParameter: for a model without guidance.
        """
        if guidance is None:
            return self.guidance
        if "guidance" not in self.takes:
            raise InvalidParameter(f"generator {self.name!r} has no guidance: leave it out", param="guidance")
        return guidance


Served = ServedTokenizer | ServedGenerator


def codes_of(spec: LatentSpec) -> dict[str, Any] | None:  # JSON
    """What the indices of a latent are; None where it is continuous or of several parts."""
    part = spec.parts[0]
    if len(spec.parts) != 1 or part.codebook_size is None:
        return None
    return {
        "codebook_size": part.codebook_size,
        "num_codebooks": part.num_codebooks,
        "scales": None if part.scales is None else list(part.scales),
        "index_dtype": part.index_dtype,
        "bits_per_index": math.log2(part.codebook_size),
    }


def check_padded(spec: LatentSpec, size: tuple[int, int], max_pixels: int) -> int:
    """Pixels of ``size`` after padding, the cost of a picture.

    Raises:
        TooManyPixels: more than ``max_pixels``; a long, thin picture may grow much by padding.
    """
    pixels = math.prod(spec.padded(size))
    if pixels > max_pixels:
        raise TooManyPixels(
            f"a picture of {size[1]}x{size[0]} is {pixels} pixels after padding and this server takes up to "
            f"{max_pixels}: send a smaller one",
            details={"max_pixels": max_pixels},
        )
    return pixels
