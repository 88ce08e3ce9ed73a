"""The served models by name, of which one a kind is the default. The two kinds may share a name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import diffusion
import tokenizer
from service.engine.messages import Kind, ModelSource, PipelineFacts
from service.errors import InvalidParameter, ModelExists, UnknownModel
from service.registry.folders import kind_of, read_model, resolve
from service.registry.identity import stamp_of
from service.registry.served import Served, ServedGenerator, ServedTokenizer, codes_of
from service.settings import parse_models
from tokenizer.core import checkpoint

if TYPE_CHECKING:
    from types import ModuleType

BUNDLED_NAME = "demo"
MAX_MODELS = 256
KINDS: tuple[Kind, ...] = ("tokenizer", "generator")
Key = tuple[Kind, str]


class Registry:
    """What this server knows of; whether a model is loaded is the lifecycle's business."""

    def __init__(
        self, tokenizers: dict[str, ServedTokenizer], generators: dict[str, ServedGenerator]
    ) -> None:
        self.tokenizers = tokenizers
        self.generators = generators
        self._defaults: dict[Kind, str] = {}
        self._stamps: dict[Key, str] = {key: stamp_of(self.model(key).path) for key in self.known}

    @classmethod
    def read(cls, models: str) -> Registry:
        """Read ``name=folder,...``, or the bundled demo if there is none.

        Raises:
            ValueError: naming the entry that cannot be served, and what to do.
        """
        entries = [(name, Path(path)) for name, path in parse_models(models)] or _bundled()
        tokenizers: dict[str, ServedTokenizer] = {}
        found: dict[Key, Path] = {}
        for name, path in entries:
            try:
                folder = resolve(path)
                key = (kind_of(folder), name)
                if key in found:
                    raise ValueError(f"names the {key[0]} {name!r} twice: give each its own name")
                found[key] = folder
                if key[0] == "tokenizer":
                    tokenizers[name] = cast("ServedTokenizer", read_model(name, folder, ()))
            except ValueError as error:
                raise ValueError(f"TESSERA_MODELS: {name!r}: {error}") from None
        generators: dict[str, ServedGenerator] = {}
        for (kind, name), folder in found.items():
            if kind == "generator":
                try:
                    model = read_model(name, folder, tokenizers.values())
                except ValueError as error:
                    raise ValueError(f"TESSERA_MODELS: {name!r}: {error}") from None
                generators[name] = cast("ServedGenerator", model)
        return cls(tokenizers, generators)

    @property
    def known(self) -> list[Key]:
        """(kind, name) of every model, tokenizers first."""
        return [("tokenizer", name) for name in self.tokenizers] + [
            ("generator", name) for name in self.generators
        ]

    def model(self, key: Key) -> Served:
        """The model of a key that is there."""
        kind, name = key
        return self.tokenizers[name] if kind == "tokenizer" else self.generators[name]

    def needs(self, key: Key) -> list[Key]:
        """What must be loaded for a model to work: its tokenizer, then itself."""
        model = self.model(key)
        owner = model.tokenizer if isinstance(model, ServedGenerator) else None
        return [key] if owner is None else [("tokenizer", owner), key]

    def source(self, key: Key) -> ModelSource:
        """What the worker loads."""
        model = self.model(key)
        facts = None
        if isinstance(model, ServedGenerator) and model.pipeline is not None:
            facts = PipelineFacts(
                class_name=model.pipeline,
                spec_id=model.spec_id,
                size=model.sizes[0],
                takes_size=model.size_multiple is not None,
                guidance=model.guidance if "guidance" in model.takes else None,
            )
        owner = model.tokenizer if isinstance(model, ServedGenerator) else None
        return ModelSource(key[0], key[1], str(model.path), facts, owner)

    def sources(self) -> tuple[ModelSource, ...]:
        """All of them, tokenizers first."""
        return tuple(self.source(key) for key in self.known)

    def tokenizer(self, name: str | None) -> ServedTokenizer:
        """By name; the default for None.

        Raises:
            UnknownModel: listing those there are.
        """
        return self._find("tokenizer", name)

    def generator(self, name: str | None) -> ServedGenerator:
        """By name; the default for None.

        Raises:
            UnknownModel: listing those there are.
        """
        return self._find("generator", name)

    def find(self, name: str, kind: Kind | None) -> Key:
        """The key of a name, where it may be either kind.

        Raises:
            UnknownModel: listing those there are.
            InvalidParameter: both kinds have that name and ``kind`` does not say which.
        """
        found = [key for key in self.known if key[1] == name and kind in (None, key[0])]
        if len(found) == 2:
            raise InvalidParameter(
                f"a tokenizer and a generator are called {name!r}: add ?kind=tokenizer or ?kind=generator",
                param="kind",
            )
        if not found:
            known = ", ".join(sorted({key[1] for key in self.known if kind in (None, key[0])})) or "none yet"
            raise UnknownModel(f"no {kind or 'model'} {name[:64]!r}: use one of {known}", param="model")
        return found[0]

    def default(self, kind: Kind) -> str | None:
        """The name that a request means that names none: the one set, else the first; None if there is none."""
        models: dict[str, Any] = self.tokenizers if kind == "tokenizer" else self.generators
        chosen = self._defaults.get(kind)
        return chosen if chosen in models else next(iter(models), None)

    def set_default(self, key: Key) -> None:
        """Make a model what requests mean that name none."""
        self._defaults[key[0]] = key[1]

    def add(self, model: Served) -> Key:
        """Serve another model.

        Raises:
            ModelExists: one of that kind and name is served.
            InvalidParameter: there are too many.
        """
        key = key_of(model)
        if key in self._stamps:
            raise ModelExists(
                f"a {key[0]} {key[1]!r} is served already: choose another name, or remove it first with "
                f"DELETE /v1/models/{key[1]}?kind={key[0]}",
                param="name",
            )
        if len(self._stamps) >= MAX_MODELS:
            raise InvalidParameter(f"{MAX_MODELS} models are served: remove one first", param="name")
        self._stamps[key] = stamp_of(model.path)
        if isinstance(model, ServedTokenizer):
            self.tokenizers[model.name] = model
        else:
            self.generators[model.name] = model
        return key

    def remove(self, key: Key) -> None:
        """Serve a model no longer."""
        del self._stamps[key]
        if key[0] == "tokenizer":
            del self.tokenizers[key[1]]
        else:
            del self.generators[key[1]]

    def reread(self, key: Key) -> str:
        """The spec_id that the model's folder has now; reads JSON and hashes what has changed, so call it in a thread.

        Raises:
            ValueError: the folder holds no such model any more.
        """
        model = self.model(key)
        try:
            if stamp_of(model.path) == self._stamps[key]:
                return model.spec_id
        except OSError as error:
            raise ValueError(str(error)) from None
        return read_model(model.name, model.path, self.tokenizers.values()).spec_id

    def to_json(self) -> list[dict[str, Any]]:  # JSON
        """Every model as GET /v1/models shows it, without its state."""
        return [self.describe(key) for key in self.known]

    def describe(self, key: Key) -> dict[str, Any]:  # JSON
        """One model; no path of this machine is told."""
        kind, name = key
        model = self.model(key)
        facts: dict[str, Any] = {"id": name, "created": written_at(model.path)}
        facts |= {"name": name, "kind": kind, "default": name == self.default(kind), "spec_id": model.spec_id}
        if isinstance(model, ServedTokenizer):
            facts |= {
                "family": model.family,
                "spec": model.spec.model_dump(mode="json"),
                "codes": codes_of(model.spec),
            }
        else:
            facts |= {
                "family": model.pipeline or "tessera",
                "tokenizer": model.tokenizer,
                "conditioning": model.conditioning,
                "takes": sorted(model.takes),
                "class_names": list(model.class_names),
                "sizes": [list(size) for size in model.sizes],
                "size_multiple": model.size_multiple,
                "num_steps": model.num_steps,
                "guidance": model.guidance,
            }
        return facts | {
            "licence": model.licence,
            "figures": model.figures,
            "weights_bytes": model.weights_bytes,
        }

    @overload
    def _find(self, kind: Literal["tokenizer"], name: str | None) -> ServedTokenizer: ...
    @overload
    def _find(self, kind: Literal["generator"], name: str | None) -> ServedGenerator: ...

    def _find(self, kind: Kind, name: str | None) -> Served:
        models: dict[str, Any] = self.tokenizers if kind == "tokenizer" else self.generators
        if not models:
            raise UnknownModel(
                f"this server has no {kind}: start it with TESSERA_MODELS=name=folder,name=folder",
                param="model",
            )
        wanted = self.default(kind) if name is None else name
        if wanted not in models:
            raise UnknownModel(f"no {kind} {str(name)[:64]!r}: use one of {', '.join(models)}", param="model")
        model: Served = models[wanted]
        return model


def key_of(model: Served) -> Key:
    """Its kind and name."""
    return ("tokenizer" if isinstance(model, ServedTokenizer) else "generator", model.name)


def written_at(folder: Path) -> int:
    """When a folder was last written, in seconds since 1970; 0 for one that is gone."""
    try:
        return int(folder.stat().st_mtime)
    except OSError:
        return 0


def _bundled() -> list[tuple[str, Path]]:
    folders = [_home(package) / "bundled" / BUNDLED_NAME for package in (tokenizer, diffusion)]
    there = [(BUNDLED_NAME, folder) for folder in folders if (folder / checkpoint.CONFIG).is_file()]
    if not there:
        raise ValueError(
            "this checkout has no bundled demo model: make one with `make train-demo`, or name models with "
            "TESSERA_MODELS=name=folder"
        )
    return there


def _home(package: ModuleType) -> Path:
    assert package.__file__ is not None  # both are ordinary packages
    return Path(package.__file__).parent
