"""A folder of a diffusers pipeline as a generator: what it makes, in which sizes, read from JSON without torch.

Text-conditional pipelines take ``prompt``, ``height`` and ``width``; class-conditional ones take ``class_labels`` and
make one size. Others (editing, inpainting, video, sound) are refused with what is missing.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from service.registry.identity import identity_of, weights_of
from service.registry.served import Conditioning, ServedGenerator
from service.registry.signatures import REQUIRED, modules_with_components, signature_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INDEX = "model_index.json"
# Parameters of pipelines that start from a picture, or make something else than pictures.
OTHER_TASKS = frozenset(
    (
        "mask_image",
        "strength",
        "num_frames",
        "frames",
        "video",
        "video_length",
        "control_image",
        "control_video",
    )
    + ("controlnet_conditioning_scale", "adapter_conditioning_scale", "audio_length_in_s", "source_prompt")
)
NETWORKS = ("transformer", "unet")
DEFAULT_SIDE = 1024
# Every pipeline cuts its latent into patches of at most 2x2 and has at most 8 pixels a position, or says otherwise.
LEAST_MULTIPLE = 16


def is_pipeline(folder: Path) -> bool:
    """Whether the folder is one that a pipeline's ``save_pretrained`` wrote."""
    return (folder / INDEX).is_file()


def read_pipeline(name: str, folder: Path) -> ServedGenerator:
    """The generator in a folder.

    Raises:
        ValueError: naming what is wrong with it, or why it cannot be served.
    """
    index = read_json(folder / INDEX)
    class_name = index.get("_class_name")
    if not isinstance(class_name, str):  # a list names a Python file, which is never run
        raise ValueError(
            f"{INDEX} names no class of diffusers: pipelines with code of their own are not loaded"
        )
    refuse_code(folder, index)
    parameters = signature_of(class_name)
    conditioning = _conditioning(class_name, parameters)
    network, vae = _component(folder, index, NETWORKS), _component(folder, index, ("vae", "vqvae", "movq"))
    factor = _factor(vae)
    size, multiple = _sizes(parameters, network, factor)
    guidance = parameters.get("guidance_scale")
    takes = {"guidance"} if isinstance(guidance, int | float) else set()
    if conditioning == "text" and "negative_prompt" in parameters:
        takes.add("negative_prompt")
    steps = parameters["num_inference_steps"]
    return ServedGenerator(
        name=name,
        path=folder,
        spec_id=identity_of(folder),
        tokenizer=None,
        class_names=_class_names(index, network) if conditioning == "class" else (),
        sizes=(size,),
        num_steps=steps if isinstance(steps, int) and steps > 0 else 50,
        guidance=float(guidance) if isinstance(guidance, int | float) else 1.0,
        licence=licence_of(folder),
        figures=None,
        weights_bytes=sum(path.stat().st_size for path in weights_of(folder)),
        conditioning=conditioning,
        pipeline=class_name,
        size_multiple=multiple,
        takes=frozenset(takes),
    )


def refuse_code(folder: Path, index: Mapping[str, Any]) -> None:  # JSON of another project
    """ValueError if loading the folder would run code that it brings or import anything but model classes."""
    python = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    if python:
        raise ValueError(
            f"the folder holds Python code ({python[0]}): only pipelines of diffusers itself are loaded"
        )
    linked = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.is_symlink())
    if linked:
        raise ValueError(f"{linked[0]} is a link to a folder: name a pipeline whose folders are its own")
    for component, entry in index.items():
        if component.startswith("_") or not isinstance(entry, list):
            continue
        library, kind = entry if len(entry) == 2 else (None, "?")
        if library is None and kind is None:  # an optional component that is not there
            continue
        if library not in modules_with_components() or not component.isidentifier():
            raise ValueError(
                f"{INDEX}: component {component[:64]!r} comes from {str(library)[:64]!r}: only classes of "
                "diffusers and transformers are loaded"
            )
    if not weights_of(folder):
        raise ValueError(
            "the folder holds no safetensors: save it with save_pretrained(folder, safe_serialization=True); pickled "
            "weights are never read"
        )


def licence_of(folder: Path) -> str | None:
    """``license:`` of the front matter of README.md, as model cards have it."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")[:4096]
    except OSError:
        return None
    found = re.match(r"---\s*\n(?:.*\n)*?license:[ \t]*([^\s]{1,64})[ \t]*\n", text)
    return found[1] if found else None


def read_json(path: Path) -> dict[str, Any]:  # JSON of another project
    """A JSON object.

    Raises:
        ValueError: if the file is none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} must hold a JSON object")
    return data


def _conditioning(class_name: str, parameters: Mapping[str, Any]) -> Conditioning:  # defaults as they are
    needed = {name for name, default in parameters.items() if default is REQUIRED}
    kind: Conditioning = "text" if "prompt" in parameters else "class"
    condition = "prompt" if kind == "text" else "class_labels"
    wanted = {condition, "generator", "num_inference_steps", "output_type"}
    wanted |= {"height", "width"} if kind == "text" else set()
    other = sorted(OTHER_TASKS & parameters.keys() | needed - {condition})
    if missing := sorted(wanted - parameters.keys()):
        raise ValueError(
            f"{class_name} takes no {', '.join(missing)}: only text- and class-conditional ones are served"
        )
    if other:
        raise ValueError(
            f"{class_name} takes {', '.join(other)}: only pipelines from text or class to picture are served"
        )
    return kind


def _component(folder: Path, index: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:  # as above
    """``config.json`` of the first of these components that the folder has; empty if it has none."""
    for name in names:
        if name in index and (folder / name / "config.json").is_file():
            return read_json(folder / name / "config.json")
    return {}


def _factor(vae: Mapping[str, Any]) -> int:  # as above
    """Pixels a side for one position of the latent."""
    for key in ("encoder_block_out_channels", "block_out_channels", "down_block_types"):
        levels = vae.get(key)
        if isinstance(levels, list) and levels:
            return int(2 ** (len(levels) - 1))
    return 8


def _sizes(
    parameters: Mapping[str, Any], network: Mapping[str, Any], factor: int
) -> tuple[tuple[int, int], int | None]:  # as above
    """Its own size, and what sides must be multiples of; None where it makes that size only."""
    sample = network.get("sample_size")
    sides = sample if isinstance(sample, list) and len(sample) == 2 else [sample, sample]
    own, known = (DEFAULT_SIDE, DEFAULT_SIDE), False
    if isinstance(sides[0], int) and isinstance(sides[1], int) and min(sides) > 0:
        own, known = (sides[0] * factor, sides[1] * factor), True
    if "height" not in parameters:
        if not known:
            raise ValueError(
                "the network's config.json has no sample_size, so the size of its pictures is not known"
            )
        return own, None
    patch = network.get("patch_size")
    multiple = math.lcm(factor * (patch if isinstance(patch, int) and patch > 0 else 1), LEAST_MULTIPLE)
    stated = parameters["height"], parameters["width"]
    if not known and isinstance(stated[0], int) and isinstance(stated[1], int):
        own = stated
    height, width = (max(multiple, side // multiple * multiple) for side in own)
    return (height, width), multiple


def _class_names(index: Mapping[str, Any], network: Mapping[str, Any]) -> tuple[str, ...]:  # as above
    """Names of the classes: those of ``id2label``, else their numbers."""
    names = index.get("id2label")
    count = network.get("num_embeds_ada_norm") or network.get("num_class_embeds")
    if isinstance(names, dict) and names and all(str(key).isdecimal() for key in names):
        count = count if isinstance(count, int) else 1 + max(int(key) for key in names)
    if not isinstance(count, int) or not 0 < count <= 2**20:
        raise ValueError("neither the network's config.json nor id2label says how many classes there are")
    names = names if isinstance(names, dict) else {}
    return tuple(str(names.get(str(label), label)) for label in range(count))
