"""Which parameters of a module move, by patterns of their names."""

import fnmatch

from torch import nn


def choose_trained(model: nn.Module, patterns: tuple[str, ...]) -> None:
    """Let the parameters whose names match a pattern move; modules in which nothing moves go to eval mode.

    Raises:
        ValueError: if a pattern matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ValueError(
                f"train pattern {pattern!r} matches no parameter; they look like {names[0]}, {names[-1]}"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()  # frozen batch norms keep their statistics


def trained_names(model: nn.Module) -> list[str]:
    """Names of the parameters that move."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]
