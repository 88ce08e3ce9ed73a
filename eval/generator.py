"""A generator ready to be measured: loaded here or a server's, with its tokenizer, pictures, metrics and reference."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from diffusion import model_folder
from diffusion.pipeline import Pipeline
from diffusion.remote import RemotePipeline
from eval import processes
from eval.data import Pictures
from eval.errors import EvaluationError
from eval.job import build_panels, check_panel, refused
from eval.metrics.score import SetMetric
from eval.metrics.sets import SetComparison
from eval.protocols import EvaluationProtocol
from eval.reference import Reference
from eval.report import NotComputed, Panel
from eval.settings import DTYPES, SampleConfig
from tokenizer.adapters.remote import is_remote
from tokenizer.core.checkpoint import weights_sha256
from tokenizer.model import Tokenizer


@dataclass(frozen=True, slots=True)
class Job:
    """All parts of one evaluation, ready to run; ``weights`` names the generator's."""

    config: SampleConfig
    device: torch.device
    pipeline: Pipeline | RemotePipeline
    weights: str
    tokenizer: Tokenizer
    pictures: Pictures
    panel: Panel
    metrics: Mapping[str, SetMetric]
    reference: Reference | None = None

    @property
    def protocol(self) -> EvaluationProtocol:
        """What the numbers are measured under."""
        return self.panel.protocol


def prepare(config: SampleConfig) -> Job:
    """Build every part.

    Raises:
        EvaluationError: naming what does not fit.
    """
    with refused():
        device = processes.own_device(config.device)
        pipeline = _pipeline(config, str(device))
        if pipeline.tokenizer is None:
            raise EvaluationError("tokenizer=SOURCE is needed: this generator does not bring its tokenizer")
        if not pipeline.tokenizer.spec.has_statistics:
            raise EvaluationError(
                "the tokenizer has no latent statistics, so it cannot decode what a generator makes: "
                "measure them with `python -m tokenizer.stats`, and train the generator on such latents"
            )
        side = _side(pipeline, config.data.resolution)
        pictures = Pictures.open(config.data.model_copy(update={"resolution": side}))
        (panel,) = build_panels(config, [config.protocol], side, lambda named: named.generation, device)
        reference = None if config.reference is None else Reference.read(config.reference)
        against(panel, reference)
        check_panel(config, panel)
        metrics = {}
        for name, metric in panel.metrics.items():
            if not isinstance(metric, SetMetric):
                raise EvaluationError(f"metrics: {name} compares pairs, and samples have no original")
            metrics[name] = metric
        config.out.mkdir(parents=True, exist_ok=True)
        weights = _weights(config, pipeline)
    return Job(config, device, pipeline, weights, pipeline.tokenizer, pictures, panel, metrics, reference)


def against(panel: Panel, reference: Reference | None) -> None:
    """Set the metrics against the reference file; what it cannot serve becomes a metric that is not computed.

    A protocol whose numbers are against an npz never takes a folder instead.
    """
    for name, metric in list(panel.metrics.items()):
        if not isinstance(metric, SetComparison):
            continue
        lacking = None if reference is None else reference.serve(metric)
        if reference is None and metric.needs_real and panel.protocol.fid.gfid_reference == "npz":
            lacking = f"{panel.protocol.name} compares with an npz of statistics, never with a folder"
        if lacking is not None:
            del panel.metrics[name]
            panel.missing[name] = NotComputed(not_computed=lacking, put="in as reference=FILE.npz")


def _pipeline(config: SampleConfig, device: str) -> Pipeline | RemotePipeline:
    """The generator, loaded here or a server's."""
    if not is_remote(config.generator):
        return Pipeline.load(
            config.generator, tokenizer=config.tokenizer, device=device, dtype=DTYPES[config.dtype]
        )
    if config.tokenizer is not None:
        raise EvaluationError("tokenizer=: a server decodes with its own; leave it out")
    return RemotePipeline(config.generator)


def _side(pipeline: Pipeline | RemotePipeline, asked: int | None) -> int:
    height, width = pipeline.sizes[0]
    if height != width:
        raise EvaluationError(f"the crop of the protocol is square, this generator makes {height}x{width}")
    if asked not in (None, height):
        raise EvaluationError(f"data.resolution={asked}: this generator makes {height}; leave it out")
    return height


def _weights(config: SampleConfig, pipeline: Pipeline | RemotePipeline) -> str:
    """sha256 of the generator's weights, or a server's name for it."""
    if isinstance(pipeline, RemotePipeline):
        return f"{pipeline.name} of a server"
    return weights_sha256(model_folder.find(config.generator))
