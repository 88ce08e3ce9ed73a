"""A pipeline of diffusers in the worker: read from a folder of safetensors, called for the rows of several requests.

Every row has a generator of its own, seeded on the CPU, so its picture does not depend on the rows beside it. That
holds for texts too only where the text encoder pads them to one length; ``mixes_texts`` says so and is measured.

Letters: B rows, H W pixels.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from service.errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from service.engine.messages import ModelSource, PipelineFacts

# Two texts that every tokenizer makes different numbers of tokens of.
PROBES = ("a", "a long text of many words, so that more tokens are needed for it than for the other one")


@dataclass(frozen=True, slots=True)
class Settings:
    """What rows must have in common to share a call.

    Attributes:
        size: (H, W); None for a pipeline that makes one size.
        guidance: None for a pipeline without.
    """

    num_steps: int
    guidance: float | None
    size: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Row:
    """One picture: a class or a text, and the seed of its noise."""

    seed: int
    label: int | None = None
    prompt: str | None = None
    negative_prompt: str | None = None


class ForeignPipeline:
    """A pipeline ready for inference.

    Args:
        pipeline: of diffusers, on its device.
        facts: what the registry knows of it.
    """

    def __init__(self, pipeline: Any, facts: PipelineFacts) -> None:  # diffusers is not typed
        self.facts = facts
        self._pipeline = pipeline
        self._takes = frozenset(inspect.signature(pipeline.__call__).parameters)
        self.by_class = "prompt" not in self._takes
        self.mixes_texts = not self.by_class

    @classmethod
    def load(cls, source: ModelSource, *, device: torch.device, dtype: torch.dtype) -> ForeignPipeline:
        """Read the folder that ``save_pretrained`` wrote; no pickle, no code of the folder's own, no network.

        Raises:
            ValueError: why it cannot be loaded.
        """
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is imported, which reads it once
        import diffusers

        library: Any = diffusers  # its types are partial
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
        if importlib.util.find_spec("transformers") is not None:
            import transformers

            texts: Any = transformers  # its types are partial too
            texts.utils.logging.disable_progress_bar()
        try:
            pipeline = library.DiffusionPipeline.from_pretrained(
                source.path, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
            ).to(device)
        except ImportError as error:
            raise ValueError(
                f"{error}: `pip install tessera[pipelines]` has what pipelines of texts need"
            ) from None
        except (OSError, RuntimeError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        pipeline.set_progress_bar_config(disable=True)
        for module in _modules(pipeline):
            module.eval().requires_grad_(False)
        assert source.pipeline is not None  # the registry tells of every pipeline
        return cls(pipeline, source.pipeline)

    @property
    def memory_bytes(self) -> int:
        """Bytes of all weights."""
        tensors = {
            id(tensor): tensor.nbytes
            for module in _modules(self._pipeline)
            for tensor in (*module.parameters(), *module.buffers())
        }
        return sum(tensors.values())

    def check(self, row: Row, settings: Settings) -> None:
        """Let the pipeline itself look at what it is asked for.

        Raises:
            InvalidParameter: in its own words.
        """
        checker = getattr(self._pipeline, "check_inputs", None)
        if checker is None:
            return
        height, width = settings.size or (None, None)
        known = {
            "prompt": row.prompt,
            "negative_prompt": row.negative_prompt,
            "height": height,
            "width": width,
            "num_inference_steps": settings.num_steps,
            "guidance_scale": settings.guidance,
            "batch_size": 1,
        }
        arguments = {
            name: known.get(name)
            for name, parameter in inspect.signature(checker).parameters.items()
            if name in known or parameter.default is inspect.Parameter.empty
        }
        try:
            checker(**arguments)
        except ValueError as error:
            reason = " ".join(str(error).split())[:300]
            raise InvalidParameter(
                f"{type(self._pipeline).__name__} refuses this: {reason}", param="prompt"
            ) from None

    @contextmanager
    def tiled(self, wanted: bool) -> Iterator[None]:
        """Decode in tiles inside, where the pipeline's autoencoder can."""
        vae: Any = getattr(self._pipeline, "vae", None)
        if not wanted or not hasattr(vae, "enable_tiling"):
            yield
            return
        vae.enable_tiling()
        try:
            yield
        finally:
            vae.disable_tiling()

    def settings(self, num_steps: int, guidance: float, size: tuple[int, int]) -> Settings:
        """Of a call; what the pipeline does not take is left out."""
        facts = self.facts
        return Settings(
            num_steps, None if facts.guidance is None else guidance, size if facts.takes_size else None
        )

    @torch.inference_mode()
    def measure(self) -> None:
        """Find whether a text changes the picture of another one beside it: ``mixes_texts``. Warms up besides.

        Raises:
            ValueError: it makes no pictures.
        """
        few = self.settings(2, self.facts.guidance or 1.0, self.facts.size)
        try:
            if self.by_class:
                self.run([Row(0, label=0)], few)
                return
            short, long = (Row(0, prompt=text) for text in PROBES)
            alike, mixed = (self.run([short, other], few)[0] for other in (short, long))
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            raise ValueError(
                f"{self.facts.class_name} makes no picture: {type(error).__name__}: {error}"
            ) from error
        self.mixes_texts = not torch.equal(alike, mixed)

    def run(
        self, rows: Sequence[Row], settings: Settings, on_step: Callable[[int, int], None] | None = None
    ) -> Tensor:
        """Pictures, uint8 (B, H, W, 3) on the device; either all rows have a negative prompt, or none.

        Args:
            rows: B of them.
            settings: of all.
            on_step: called after every step with (steps done, steps); what it raises ends the call.
        """
        generators = [torch.Generator().manual_seed(row.seed) for row in rows]
        arguments: dict[str, Any] = {
            "num_inference_steps": settings.num_steps,
            "generator": generators,
            "output_type": "pt",
        }
        if self.by_class:
            arguments["class_labels"] = [row.label for row in rows]
        else:
            arguments["prompt"] = [row.prompt for row in rows]
            if rows[0].negative_prompt is not None:
                arguments["negative_prompt"] = [row.negative_prompt for row in rows]
        if settings.size is not None:
            arguments["height"], arguments["width"] = settings.size
        if settings.guidance is not None:
            arguments["guidance_scale"] = settings.guidance
        if "batch_size" in self._takes:
            arguments["batch_size"] = len(rows)
        if "use_resolution_binning" in self._takes:  # what is asked for is made, not another size scaled
            arguments["use_resolution_binning"] = False
        scheduler = getattr(self._pipeline, "scheduler", None)
        report = None if on_step is None else functools.partial(_report, on_step, scheduler)
        if report is not None and "callback_on_step_end" in self._takes:
            arguments["callback_on_step_end"] = functools.partial(_called_back, report)
            report = None
        with _seeded_steps(scheduler, generators, report):
            pictures = self._pipeline(**arguments).images
        return _to_bytes(pictures)


def _report(on_step: Callable[[int, int], None], scheduler: Any, done: int) -> None:  # diffusers is not typed
    """``done`` steps are made, of as many as the scheduler has times."""
    times = getattr(scheduler, "timesteps", None)
    on_step(done, done if times is None else max(done, len(times)))


def _called_back(
    report: Callable[[int], None], _: Any, index: int, __: Any, changed: dict[str, Any]
) -> dict[str, Any]:
    """As pipelines call ``callback_on_step_end``."""
    report(index + 1)
    return changed


@contextmanager
def _seeded_steps(
    scheduler: Any, generators: list[torch.Generator], report: Callable[[int], None] | None
) -> Iterator[None]:
    """Inside, a scheduler that draws noise draws it for a row from that row's generator, and ``report`` hears of steps.

    Some pipelines (DiTPipeline) hand it no generator, so it would draw from the state that all requests share, and
    have no callback either. Rows doubled for guidance draw from the same generators once more.
    """
    step = getattr(scheduler, "step", None)
    if step is None:
        yield
        return
    draws = "generator" in inspect.signature(step).parameters
    done = 0

    @functools.wraps(step)
    def seeded(
        output: Any, time: Any, sample: Any, *arguments: Any, **options: Any
    ) -> Any:  # as they are called
        nonlocal done
        if draws and not arguments and options.get("generator") is None:
            options["generator"] = generators * max(1, len(sample) // len(generators))
        result = step(output, time, sample, *arguments, **options)
        done += 1
        if report is not None:
            report(done)
        return result

    scheduler.step = seeded
    try:
        yield
    finally:
        del scheduler.step


def _modules(pipeline: Any) -> list[nn.Module]:  # as above
    return [module for module in pipeline.components.values() if isinstance(module, nn.Module)]


def _to_bytes(
    pictures: Any,
) -> Tensor:  # a tensor (B, 3, H, W), an array (B, H, W, 3) or a list of them, in [0, 1]
    if not isinstance(pictures, Tensor):
        first = pictures[0]
        rows = (
            torch.stack(list(pictures)) if isinstance(first, Tensor) else torch.from_numpy(np.stack(pictures))
        )
        pictures = rows if isinstance(first, Tensor) else rows.permute(0, 3, 1, 2)
    scaled = (pictures.float() * 255).nan_to_num(0.0).round().clamp(0, 255)
    bytes_: Tensor = scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return bytes_
