"""Optimizers and schedules, stated in images, and their state without pickle."""

import json
import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tokenizer.core.config import Config


class OptimConfig(Config):
    """How parameters move."""

    kind: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=1e-4, gt=0, description="for a batch of lr_batch images")
    lr_batch: int | None = Field(
        default=None, ge=1, description="the lr grows in proportion to batch / lr_batch"
    )
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.0, ge=0, description="on matrices and kernels only")
    warmup_images: int = Field(default=0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    final_ratio: float = Field(default=0.0, ge=0, le=1, description="last lr over first, for cosine")
    max_norm: float | None = Field(default=1.0, gt=0, description="gradients are clipped to this norm")

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimizer over the parameters of ``module`` that train, kernels and vectors in two groups."""
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not trained:
            raise ValueError("no parameter trains: check the phase's `train` patterns")
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if self.kind == "sgd":
            return torch.optim.SGD(groups, lr=self.lr)
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, fused=True)

    def lr_at(self, images: int, total: int, batch: int) -> float:
        """Learning rate after ``images`` of ``total``, for steps of ``batch`` images."""
        lr = self.lr * (batch / self.lr_batch if self.lr_batch else 1.0)
        if images < self.warmup_images:
            return lr * (images + batch) / (self.warmup_images + batch)
        if self.schedule == "constant":
            return lr
        done = min(1.0, (images - self.warmup_images) / max(1, total - self.warmup_images))
        ratio = self.final_ratio + (1.0 - self.final_ratio) * 0.5 * (1.0 + math.cos(math.pi * done))
        return lr * ratio


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group the learning rate ``lr``."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def pack(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], str]:
    """An optimizer's state as named tensors and a JSON text."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}  # optimizers keep numbers of several types beside tensors
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    return tensors, json.dumps({"groups": state["param_groups"], "scalars": scalars})


def unpack(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], text: str) -> None:
    """Restore what ``pack`` gave into an optimizer over the same parameters."""
    data = json.loads(text)
    state: dict[int, dict[str, Any]] = {}
    values: Iterable[tuple[str, Any]] = [*tensors.items(), *data["scalars"].items()]
    for path, value in values:
        index, name = path.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = data["groups"]
    for group in groups:
        if "betas" in group:
            group["betas"] = tuple(group["betas"])
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for (
        parameter,
        entries,
    ) in optimizer.state.items():  # fused optimizers walk both in the order of the memory
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
