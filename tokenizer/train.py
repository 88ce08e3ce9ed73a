"""Train a tokenizer: every object is built here in sight, then one loop walks the phases.

``python -m tokenizer.train PRESET data.path=PICTURES out=FOLDER``, or the same with ``accelerate launch -m``.
The same command again goes on where the run stopped, bit for bit on the CPU at a fixed number of threads.
"""

import json
import logging
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tokenizer.clusters import begin_with_clusters
from tokenizer.config import TokenizerConfig
from tokenizer.core import checkpoint, optim, seeding
from tokenizer.core.config import from_cli, refusals
from tokenizer.core.descent import Descent, DivergedError
from tokenizer.core.ema import EMA
from tokenizer.core.run import autocast, build_accelerator, compile_modules, crossed, refuse_changes
from tokenizer.core.tracking import Averages, Tracker, grid
from tokenizer.core.trained import choose_trained, trained_names
from tokenizer.data.images import Positions, Sample, loader
from tokenizer.data.opening import open_training
from tokenizer.data.transforms import to_pixels
from tokenizer.layers.recompute import recompute_blocks
from tokenizer.loading import config_of, load, load_folder
from tokenizer.losses.adversarial import Adversary, last_kernel
from tokenizer.losses.cut import Cut
from tokenizer.losses.objective import Objective
from tokenizer.model import Autoencoder
from tokenizer.preview import preview, psnr
from tokenizer.regularizers import build_regularizers, total_penalty
from tokenizer.regularizers.base import Draw, Regularized
from tokenizer.stats import StatsData, measure, pictures
from tokenizer.training import Phase, TrainConfig

logger = logging.getLogger(__name__)

# What a resumed run may change: it shows and saves, and does not move a weight.
FREE = (
    "out",
    "log_every",
    "show_every",
    "save_every",
    "keep",
    "data.num_workers",
    "data.path",
    "data.validation",
    "data.videos",
    "data.cache",
    "data.decode_threads",
)


@dataclass
class Run:
    """The objects of a run that live through all phases.

    Attributes:
        parts: what the model is made of.
        images: images seen since the start; the only clock.
    """

    config: TrainConfig
    parts: TokenizerConfig
    accelerator: Accelerator
    model: Autoencoder
    ema: EMA
    folder: checkpoint.RunFolder
    tracker: Tracker
    images: int = 0
    averages: Averages = field(default_factory=Averages)


@dataclass(frozen=True)
class PhaseParts:
    """The objects of one phase."""

    phase: Phase
    wrapped: nn.Module
    regularizers: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    descent: Descent
    adversary: Adversary | None


def train(config: TrainConfig) -> Path:
    """Run all phases; returns the folder of the last checkpoint.

    Raises:
        ValueError: if the settings cannot work, or the folder holds a run with other settings.
    """
    accelerator = build_accelerator(config.seed, deterministic=config.deterministic)
    folder = checkpoint.RunFolder(config.out, config.keep)
    latest = folder.latest()
    if latest is not None:
        refuse_changes(checkpoint.read_config(latest)["preset"], config.model_dump(mode="json"), FREE)
    torch.manual_seed(seeding.key(config.seed, "init"))
    parts = model_config(config)
    model = to_device(start_model(config, parts, latest), config, accelerator)
    ema = EMA(model, config.ema_half_life)
    with Tracker(config.out, main=accelerator.is_main_process) as tracker:
        run = Run(config, parts, accelerator, model, ema, folder, tracker)
        if latest is not None:
            ema.load_state_dict(checkpoint.load_tensors(latest / "ema.safetensors"))
            run.images = json.loads((latest / "trainer/state.json").read_text())["images"]
        begin = 0
        for index, phase in enumerate(config.phases):
            if run.images < begin + phase.span:
                resuming = latest if run.images > begin else None
                latest = run_phase(run, index, begin, resuming)
            begin += phase.span
    accelerator.end_training()
    assert latest is not None  # the last phase ends with a checkpoint
    return latest


def model_config(config: TrainConfig) -> TokenizerConfig:
    """What the run's model is made of, checked against the phases.

    Raises:
        ValueError: if a phase's resolution, its frames or a regularizer does not fit the model.
    """
    parts = config.model if config.model is not None else config_of(config.init or "")
    for phase in config.phases:
        if phase.resolution % parts.backbone.spatial_factor:
            raise ValueError(
                f"phase {phase.name!r}: resolution {phase.resolution} is no multiple of the model's factor "
                f"{parts.backbone.spatial_factor}"
            )
        if phase.adversary is not None and phase.adversary.sees == "clips" and parts.backbone.time is None:
            raise ValueError(f"phase {phase.name!r}: adversary.sees=clips, but this is a family of pictures")
        if phase.frames is not None and parts.backbone.time is None:
            raise ValueError(f"phase {phase.name!r}: frames={phase.frames}, but this is a family of pictures")
        for regularizer in phase.regularizers:
            regularizer.check(parts.spec.z)
    return parts


def start_model(config: TrainConfig, parts: TokenizerConfig, latest: Path | None) -> Autoencoder:
    """The weights a run begins or goes on with."""
    if latest is not None:
        return load_folder(latest, averaged=False)
    if config.init is not None:
        return load(config.init).requires_grad_(True).train()
    return parts.build()


def to_device(model: Autoencoder, config: TrainConfig, accelerator: Accelerator) -> Autoencoder:
    """The model where it trains, its kernels in the memory format that the run asks for."""
    model = model.to(accelerator.device)
    return model.to(memory_format=torch.channels_last) if config.channels_last else model


def run_phase(run: Run, index: int, begin: int, resuming: Path | None) -> Path | None:
    """Train one phase that starts after ``begin`` images; returns its last checkpoint, if one was written."""
    config, phase = run.config, run.config.phases[index]
    if resuming is None and phase.clusters is not None:
        device = str(run.accelerator.device)
        begin_with_clusters(run.model, run.ema, config.data.path, phase.resolution, phase.clusters, device)
    parts = build_phase(run, phase)
    if resuming is not None:
        restore(parts, resuming)
    if any(name.startswith(("encoder.", "bottleneck.")) for name in trained_names(run.model)):
        run.model.spec, run.model.projection = run.model.spec.with_statistics(None), None
    frames, multiple = frames_of(run.model, phase), run.model.spec.padded((1, 1))[0]
    shape = {"batch": phase.batch, "begin": begin, "multiple": multiple}
    order = open_training(config.data, phase.resolution, frames, config.seed, **shape)
    positions = Positions(
        run.images,
        begin + phase.span,
        phase.batch,
        accumulate=phase.accumulate,
        process=run.accelerator.process_index,
        num_processes=run.accelerator.num_processes,
    )
    batches = iter(loader(order, positions, config.data.num_workers))
    run.tracker.begin(f"{index + 1}/{len(config.phases)} {phase.name}", run.images - begin, phase.span)
    saved: Path | None = None
    while run.images < begin + phase.span:
        began = time.perf_counter()
        before = run.images
        micro = [next(batches) for _ in range(phase.accumulate)]
        run.averages.add(train_step(run, parts, micro, before - begin))
        run.images += phase.batch
        run.averages.add({"speed/images_per_second": phase.batch / (time.perf_counter() - began)})
        run.tracker.advance(phase.batch)
        done = run.images >= begin + phase.span
        if done or crossed(before, run.images, config.log_every):
            values = run.averages.read()
            run.tracker.scalars(run.images, values, show=("loss/total", "train/psnr"))
        if config.show_every and (done or crossed(before, run.images, config.show_every)):
            show(run, phase)
        if done or crossed(before, run.images, config.save_every):
            if done and index + 1 == len(config.phases):
                return finish(run, parts)
            saved = save(run, parts)
    return saved


def build_phase(run: Run, phase: Phase) -> PhaseParts:
    """Everything a phase needs, fresh."""
    config, accelerator = run.config, run.accelerator
    choose_trained(run.model, phase.train)
    optim_config = phase.optim or config.optim
    if config.recompute:
        recompute_blocks(run.model.encoder, run.model.decoder)
    if config.compile:
        adaptive = phase.adversary is not None and phase.adversary.adaptive
        apart = last_kernel(run.model.decoder)[0] if adaptive else None
        compile_modules(run.model.encoder, run.model.decoder, apart=apart)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        run.model = nn.SyncBatchNorm.convert_sync_batchnorm(run.model)  # type: ignore[no-untyped-call]  # torch's
    torch.manual_seed(seeding.key(config.seed, "regularizers"))
    regularized = Regularized(run.model, build_regularizers(phase.regularizers, run.model.spec.z))
    regularized.regularizers.to(accelerator.device)
    optimizer = optim_config.build(regularized)
    wrapped = accelerator.prepare(regularized)
    objective = Objective.build(phase.losses).to(accelerator.device)
    descent = Descent(accelerator, wrapped, optimizer, optim_config, phase.span, phase.batch)
    adversary = None
    if phase.adversary is not None:
        torch.manual_seed(seeding.key(config.seed, "adversary"))
        _, kernel = last_kernel(run.model.decoder)
        adversary = Adversary(phase.adversary, accelerator, kernel, phase.span, phase.batch)
    return PhaseParts(phase, wrapped, regularized.regularizers, objective, optimizer, descent, adversary)


def train_step(run: Run, parts: PhaseParts, batches: list[Sample], done: int) -> dict[str, Tensor]:
    """One step of both players on micro-batches, ``done`` images into the phase; detached scalars for the log."""
    device, count = run.accelerator.device, len(batches)
    adversary = parts.adversary if parts.adversary and parts.adversary.starts_at(done) else None
    log = Averages()
    # What a pass moves by itself: statistics, and the codes that a codebook revives.
    moving = [*run.model.buffers(), *run.model.bottleneck.parameters()]
    before = [(tensor, tensor.detach().clone()) for tensor in moving]
    for turn, batch in enumerate(batches):
        last = turn + 1 == count
        x = to_pixels(batch["data"].to(device, non_blocking=True))
        factor = run.model.spec.padded((1, 1))[0]
        draw = Draw(batch["key"], seeding.key(run.config.seed, "step", run.images), factor)
        noise = latent_noise(run.model, parts.phase, batch["key"], x)
        with parts.descent.accumulating(last):
            with autocast(device, run.config.precision):
                step = parts.wrapped(x, draw, sample=parts.phase.sample, noise=noise)
            cut = Cut(step)
            losses = parts.objective(cut.step, step.target)
            loss = losses.total + total_penalty(parts.phase.regularizers, cut.step)
            cut.differentiate(loss)
            total = loss.detach()
            if adversary is not None:
                with autocast(device, run.config.precision):
                    term = adversary.term(step.x_hat, cut.gradient(cut.step.x_hat), batch["key"])
                cut.add(cut.step.x_hat, term.gradient)
                total = total + term.value
                log.add({f"adversary/{name}": value for name, value in term.stats.items()})
            parts.descent.backward(cut.surrogate() / count, total)
        log.add({f"loss/{name}": value for name, value in losses.terms.items()} | {"loss/total": total})
        log.add({f"bottleneck/{name}": value for name, value in step.bottleneck.stats.items()})
        log.add({f"penalty/{kind}": value.detach() for kind, value in step.penalties.items()})
        log.add({"train/psnr": psnr(step.x_hat, step.target).mean()})
        if adversary is not None:
            with autocast(device, run.config.precision):
                stats = adversary.learn(
                    step.target, step.x_hat, batch["key"], images=done, micro_batches=count, last=last
                )
            log.add({f"adversary/{name}": value for name, value in stats.items()})
    norm = parts.descent.step(done)
    if norm is not None:
        run.ema.update(run.model, run.images + parts.phase.batch, parts.phase.batch)
    else:  # a step that is not finite leaves no trace in what the passes themselves moved
        for tensor, value in before:
            tensor.data.copy_(value)
    if adversary is not None:
        adversary.step(done)
    log.add({"train/lr": parts.optimizer.param_groups[0]["lr"], "train/skipped": float(norm is None)})
    log.add({"train/gradient_norm": norm} if norm is not None else {})
    return {name: torch.tensor(value) for name, value in log.read().items()}


def frames_of(model: Autoencoder, phase: Phase) -> int | None:
    """Frames of the clips that a phase shows; None for a family of pictures."""
    return phase.frames or (None if model.spec.time == "none" else 1)


def latent_noise(model: Autoencoder, phase: Phase, keys: Tensor, x: Tensor) -> Tensor | None:
    """Noise for the posterior's sample, row by row from the samples' keys."""
    channels = model.bottleneck.noise_channels
    if not phase.sample or channels == 0:
        return None
    grid = model.spec.shape(tuple(x.shape[2:]))[model.spec.z.name][1:]
    return seeding.normal((channels, *grid), keys, "posterior").to(x.device)


def show(run: Run, phase: Phase) -> None:
    """Pictures and PSNR of the averaged weights on a few evaluation crops."""
    if not run.accelerator.is_main_process:
        return
    data = run.config.data
    source = StatsData(
        path=data.validation or data.path,
        resolution=phase.resolution,
        frames=frames_of(run.model, phase),
        num_images=32,
        batch=8,
        num_workers=0,
    )
    score, rows = preview(averaged(run), source, run.accelerator.device, run.config.precision)
    run.tracker.scalars(run.images, {"validation/psnr": score})
    run.tracker.picture(run.images, f"reconstructions_{phase.resolution}", grid(rows))


def averaged(run: Run) -> Autoencoder:
    """A copy of the model with the averaged weights, in eval mode."""
    with torch.device(run.accelerator.device):
        model = run.parts.build()
    model.load_state_dict(run.ema.state_dict())
    model.spec = run.model.spec
    return model.eval().requires_grad_(False)


def finish(run: Run, parts: PhaseParts) -> Path:
    """Measure the latents of the averaged weights if that is still to do, and write the last checkpoint."""
    if not run.model.spec.has_statistics and run.accelerator.is_main_process:
        data = StatsData(
            path=run.config.data.path,
            resolution=run.config.phases[-1].resolution,
            frames=frames_of(run.model, parts.phase),
            num_images=run.config.statistics_images,
            num_workers=run.config.data.num_workers,
        )
        batches = pictures(data, str(run.accelerator.device))
        run.model.spec, run.model.projection = measure(averaged(run), batches)
    return save(run, parts)


def save(run: Run, parts: PhaseParts) -> Path:
    """Write a checkpoint that holds everything an exact resume needs; all processes wait for it."""
    if run.accelerator.is_main_process:
        tensors: dict[str, dict[str, Tensor]] = {"model": run.model.state_dict(), "ema": run.ema.state_dict()}
        state = {"images": run.images, "skipped": parts.descent.skipped_in_a_row}
        texts = {"trainer/state.json": json.dumps(state)}
        tensors["trainer/optimizer"], texts["trainer/optimizer.json"] = optim.pack(parts.optimizer)
        if heads := parts.regularizers.state_dict():
            tensors["trainer/regularizers"] = heads
        if parts.adversary is not None:
            more_tensors, more_texts = parts.adversary.state()
            tensors |= more_tensors
            texts |= more_texts
        run.folder.save(run.images, checkpoint_config(run), tensors, texts)
    run.accelerator.wait_for_everyone()
    return run.folder.path / "checkpoints" / f"{run.images:012d}"


def checkpoint_config(run: Run) -> dict[str, Any]:  # JSON
    """What ``config.json`` of a checkpoint says."""
    return {
        "format": 1,
        "kind": "tokenizer",
        "model": run.parts.model_dump(mode="json"),
        "spec": run.model.spec.model_dump(mode="json"),
        "projection": run.model.projection and run.model.projection.model_dump(mode="json"),
        "licence": None,
        "figures": None,
        "preset": run.config.model_dump(mode="json"),
    }


def restore(parts: PhaseParts, folder: Path) -> None:
    """Put optimizers and adversary back where a checkpoint in the middle of this phase left them."""
    files = (folder / "trainer").glob("*.safetensors")
    tensors = {f"trainer/{file.stem}": checkpoint.load_tensors(file) for file in files}
    texts = {f"trainer/{file.name}": file.read_text() for file in (folder / "trainer").glob("*.json")}
    optim.unpack(parts.optimizer, tensors["trainer/optimizer"], texts["trainer/optimizer.json"])
    parts.regularizers.load_state_dict(tensors.get("trainer/regularizers", {}))
    parts.descent.skipped_in_a_row = json.loads(texts["trainer/state.json"])["skipped"]
    if parts.adversary is not None:
        parts.adversary.restore(tensors, texts)


def main() -> None:
    """The command line."""
    config = from_cli(TrainConfig, "tokenizer.train", Path(__file__).parent / "configs")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with refusals("tokenizer.train", DivergedError):
        folder = train(config)
    sys.stdout.write(f"trained: {folder}\n")


if __name__ == "__main__":
    main()
