"""Train a generator: every object is built here in sight, then the loop.

``python -m diffusion.train PRESET latents=FOLDER out=FOLDER``, or the same with ``accelerate launch -m``.
The same command again goes on where the run stopped, bit for bit on the CPU at a fixed number of threads.
"""

import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from diffusion.convert import read_diffusers
from diffusion.generators import Generator
from diffusion.latents import LatentFolder, LatentOrder, LatentSample, LatentsInfo
from diffusion.model_folder import GeneratorRecord, find, read_record
from diffusion.pipeline import Pipeline
from diffusion.training import FREE, TrainConfig
from tokenizer.core import checkpoint, optim, seeding
from tokenizer.core.config import from_cli, refusals
from tokenizer.core.descent import Descent, DivergedError
from tokenizer.core.ema import EMA
from tokenizer.core.run import autocast, build_accelerator, crossed, refuse_changes
from tokenizer.core.tracking import Averages, Tracker, grid
from tokenizer.data.images import Positions
from tokenizer.data.transforms import to_uint8
from tokenizer.loading import load as load_tokenizer
from tokenizer.model import Tokenizer

logger = logging.getLogger(__name__)


class Objective(nn.Module):
    """The loss as a module, so that what is distributed over processes is a forward pass."""

    def __init__(self, network: nn.Module, generator: Generator) -> None:
        super().__init__()
        self.network = network
        self.generator = generator

    def forward(self, z: Tensor, y: Tensor, keys: Tensor) -> Tensor:
        """z (B, C, H', W'), y (B,), keys (B,) on the CPU -> mean loss."""
        # nn.Module hides the network's attributes from the protocol that it answers to.
        return self.generator.loss(self.network, z, y, keys).mean()  # type: ignore[arg-type]


@dataclass
class Run:
    """The objects of a run.

    Attributes:
        images: latents trained on since the start; the only clock.
    """

    config: TrainConfig
    record: GeneratorRecord
    info: LatentsInfo
    accelerator: Accelerator
    objective: Objective
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    descent: Descent
    ema: EMA
    folder: checkpoint.RunFolder
    tracker: Tracker
    tokenizer: Tokenizer | None
    validation: LatentFolder | None
    images: int = 0
    averages: Averages = field(default_factory=Averages)


def train(config: TrainConfig) -> Path:
    """Train to the end; returns the folder of the last checkpoint.

    Raises:
        ValueError: if the settings cannot work, or the folder holds a run with other settings.
    """
    accelerator = build_accelerator(config.seed, deterministic=config.deterministic)
    latents = LatentFolder(config.latents)
    folder = checkpoint.RunFolder(config.out, config.keep)
    latest = folder.latest()
    with Tracker(config.out, main=accelerator.is_main_process) as tracker:
        run = build(config, accelerator, latents.info, folder, tracker)
        if latest is not None:
            restore(run, latest)
        if latest is None or run.images < config.images:
            latest = loop(run, latents)
    accelerator.end_training()
    return latest


def build(
    config: TrainConfig,
    accelerator: Accelerator,
    info: LatentsInfo,
    folder: checkpoint.RunFolder,
    tracker: Tracker,
) -> Run:
    """Every object of a run, at its start."""
    record = GeneratorRecord(
        model=config.model,
        generator=config.generator,
        spec_id=info.spec_id,
        latent_shape=info.latent_shape,
        size=info.size,
        class_names=info.class_names,
        preset=config.preset(),
    )
    torch.manual_seed(seeding.key(config.seed, "init"))
    network = record.build()
    if config.init is not None:
        network.load_state_dict(initial_weights(config.init, record))
    if config.compile:
        network.compile()
    objective = Objective(network.to(accelerator.device), config.generator.build())
    optimizer = config.optim.build(objective)
    wrapped = accelerator.prepare(objective)
    tokenizer = None
    if config.tokenizer is not None and accelerator.is_main_process:
        tokenizer = load_tokenizer(config.tokenizer, device=str(accelerator.device))
        if tokenizer.spec_id != info.spec_id:
            raise ValueError(f"the latents are of spec {info.spec_id}, the tokenizer is {tokenizer.spec_id}")
    validation = None if config.validation is None else LatentFolder(config.validation)
    if validation is not None and validation.info.spec_id != info.spec_id:
        raise ValueError(
            f"the latents are of spec {info.spec_id}, those of validation {validation.info.spec_id}"
        )
    return Run(
        config=config,
        record=record,
        info=info,
        accelerator=accelerator,
        objective=objective,
        wrapped=wrapped,
        optimizer=optimizer,
        descent=Descent(accelerator, wrapped, optimizer, config.optim, config.images, config.batch),
        ema=EMA(network, config.ema_half_life),
        folder=folder,
        tracker=tracker,
        tokenizer=tokenizer,
        validation=validation,
    )


def initial_weights(source: str, record: GeneratorRecord) -> dict[str, Tensor]:
    """Weights of another generator of the same sizes, ours or diffusers'.

    Raises:
        ValueError: if its sizes or number of classes are others, naming both.
    """
    path = Path(source)
    if (path / "config.json").is_file() and "_class_name" in checkpoint.read_config(path):
        converted = read_diffusers(path)
        model, classes = converted.config, converted.num_classes
        shape: tuple[int, ...] = converted.latent_shape
        state = converted.state
    else:
        folder = find(source)
        other = read_record(folder)
        model, shape, classes = other.model, other.latent_shape, len(other.class_names)
        state = checkpoint.load_tensors(checkpoint.weights_path(folder))
    wanted = (record.model.model_copy(update={"preset": None}), record.latent_shape, len(record.class_names))
    found = (model.model_copy(update={"preset": None}), shape, classes)
    if found != wanted:
        raise ValueError(
            f"init={source} is a {found[0]} for latents {shape} and {classes} classes; "
            f"this run trains a {wanted[0]} for latents {wanted[1]} and {wanted[2]} classes"
        )
    return {name: tensor.float() for name, tensor in state.items()}


def loop(run: Run, latents: LatentFolder) -> Path:
    """Train from where the run stands to its end; returns the last checkpoint."""
    config, accelerator = run.config, run.accelerator
    positions = Positions(
        run.images,
        config.images,
        config.batch,
        accumulate=config.accumulate,
        process=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    batches = batches_of(LatentOrder(latents, config.seed), positions, config.num_workers)
    run.tracker.begin("train", run.images, config.images)
    while True:
        began, before = time.perf_counter(), run.images
        micro = [next(batches) for _ in range(config.accumulate)]
        run.averages.add(train_step(run, micro))
        run.images += config.batch
        run.averages.add({"speed/images_per_second": config.batch / (time.perf_counter() - began)})
        run.tracker.advance(config.batch)
        done = run.images >= config.images
        if done or crossed(before, run.images, config.log_every):
            run.tracker.scalars(run.images, run.averages.read(), show=("loss/total", "train/lr"))
        if config.show_every and (done or crossed(before, run.images, config.show_every)):
            show(run)
        if done or crossed(before, run.images, config.save_every):
            saved = save(run)
        if done:
            return saved


def batches_of(order: LatentOrder, positions: Positions, num_workers: int) -> Iterator[LatentSample]:
    """Micro-batches of this process, in order."""
    return iter(
        DataLoader(
            order,
            batch_sampler=positions,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
        )
    )


def train_step(run: Run, batches: Sequence[LatentSample]) -> dict[str, Tensor | float]:
    """One step on the micro-batches of this process; detached scalars for the log."""
    device, total = run.accelerator.device, torch.zeros((), device=run.accelerator.device)
    for turn, batch in enumerate(batches):
        with run.descent.accumulating(last=turn + 1 == len(batches)):
            with autocast(device, run.config.precision):
                z, y = batch["z"].to(device, non_blocking=True), batch["label"].to(device, non_blocking=True)
                loss = run.wrapped(z, y, batch["key"]) / len(batches)
            run.descent.backward(loss)
        total += loss.detach()
    norm = run.descent.step(run.images)
    log: dict[str, Tensor | float] = {"train/skipped": float(norm is None)}
    if norm is not None:
        run.ema.update(run.objective.network, run.images + run.config.batch, run.config.batch)
        log |= {"loss/total": total, "train/gradient_norm": norm}
    return log | {"train/lr": run.optimizer.param_groups[0]["lr"]}


@torch.no_grad()
def show(run: Run) -> None:
    """Validation loss and a grid of samples, one column a class, of the averaged weights."""
    if not run.accelerator.is_main_process or (run.tokenizer is None and run.validation is None):
        return
    network = run.record.build().to(run.accelerator.device)
    network.load_state_dict(run.ema.state_dict())
    network.eval()
    if run.validation is not None:
        run.tracker.scalars(run.images, {"validation/loss": validation_loss(run, network)})
    if run.tokenizer is None:
        return
    pipeline = Pipeline(
        run.tokenizer,
        network,  # type: ignore[arg-type]  # nn.Module hides its attributes from protocols
        run.objective.generator,
        size=run.record.size,
        class_names=run.record.class_names,
        spec_id=run.record.spec_id,
        device=run.accelerator.device,
    )
    settings = run.config.show
    columns = list(range(min(settings.max_classes, len(run.record.class_names))))
    with autocast(run.accelerator.device, run.config.precision):
        pixels = pipeline.generate(
            columns * settings.rows,
            seed=0,
            num_steps=settings.num_steps,
            guidance=settings.guidance,
            sampler=settings.sampler,
            output="pixels",
        )
    rows = [to_uint8(row).cpu() for row in pixels.chunk(settings.rows)]
    run.tracker.picture(run.images, "samples", grid(rows))


def validation_loss(run: Run, network: nn.Module) -> float:
    """Mean loss of a network on held-out latents, with the same noise and times whenever it is measured."""
    assert run.validation is not None, "checked by the caller"
    count = min(len(run.validation), run.config.show.validation_latents)
    chosen = [index * len(run.validation) // count for index in range(count)]
    objective, losses = Objective(network, run.objective.generator), []
    for first in range(0, count, run.config.batch):
        part = chosen[first : first + run.config.batch]
        pairs = [run.validation[index] for index in part]
        z = torch.stack([z for z, _ in pairs]).to(run.accelerator.device)
        y = torch.stack([y for _, y in pairs]).to(run.accelerator.device)
        keys = torch.tensor([seeding.key("validation", index) for index in part])
        with autocast(run.accelerator.device, run.config.precision):
            losses.append(float(objective(z, y, keys)) * len(part))
    return sum(losses) / count


def save(run: Run) -> Path:
    """Write a checkpoint that holds everything an exact resume needs; all processes wait for it."""
    if run.accelerator.is_main_process:
        moments, groups = optim.pack(run.optimizer)
        state = {
            "images": run.images,
            "skipped": run.descent.skipped_in_a_row,
            "latents": run.info.model_dump(mode="json"),
        }
        run.folder.save(
            run.images,
            run.record.model_dump(mode="json"),
            {
                "model": run.objective.network.state_dict(),
                "ema": run.ema.state_dict(),
                "trainer/optimizer": moments,
            },
            {"trainer/state.json": json.dumps(state), "trainer/optimizer.json": groups},
        )
    run.accelerator.wait_for_everyone()
    return run.folder.path / "checkpoints" / f"{run.images:012d}"


def restore(run: Run, folder: Path) -> None:
    """Put everything back where a checkpoint left it.

    Raises:
        ValueError: if the run had other settings or other latents, naming the difference.
    """
    refuse_changes(read_record(folder).preset or {}, run.config.preset(), FREE)
    state = json.loads((folder / "trainer/state.json").read_text())
    refuse_changes({"latents": state["latents"]}, {"latents": run.info.model_dump(mode="json")}, ())
    run.objective.network.load_state_dict(checkpoint.load_tensors(folder / "model.safetensors"))
    run.ema.load_state_dict(checkpoint.load_tensors(folder / "ema.safetensors"))
    moments = checkpoint.load_tensors(folder / "trainer/optimizer.safetensors")
    optim.unpack(run.optimizer, moments, (folder / "trainer/optimizer.json").read_text())
    run.images, run.descent.skipped_in_a_row = state["images"], state["skipped"]


def main() -> None:
    """The command line."""
    config = from_cli(TrainConfig, "diffusion.train", Path(__file__).parent / "configs")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with refusals("diffusion.train", DivergedError):
        folder = train(config)
    sys.stdout.write(f"trained: {folder}\n")


if __name__ == "__main__":
    main()
