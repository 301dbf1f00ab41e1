"""The layers of any model, found by letting one example through it."""

import torch
from torch import Tensor, nn

from tui_trainer.catalog import Shape


@torch.no_grad()
def ran(model: nn.Module, X: Tensor) -> list[tuple[nn.Module, str, str]]:
    """The layers in the order they end on the inputs X, each time they are used, and what they give.

    A layer is a module without parts, or one that has weights beside those of its parts. What it gives is
    the shape of a tensor without the batch, or else the name of its type. Model and modes stay as they were.
    """
    found: list[tuple[nn.Module, str, str]] = []

    def note(module: nn.Module, _inputs: object, output: object) -> None:
        while isinstance(output, tuple | list) and output:
            output = output[0]  # of several tensors the first
        if isinstance(output, Tensor):
            found.append((module, " x ".join(str(n) for n in output.shape[1:]), ""))
        else:
            found.append((module, "", type(output).__name__))

    layers = [m for m in model.modules() if not list(m.children()) or list(m.parameters(recurse=False))]
    handles = [layer.register_forward_hook(note) for layer in layers]
    was_training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        model(X)
    finally:
        for module, training in was_training.items():
            module.training = training  # frozen parts may be in another mode than the whole
        for handle in handles:
            handle.remove()
    return found


def layers_of(model: nn.Module, shape: Shape) -> tuple[tuple[str, str, int], ...]:
    """The layers in the order they end: torch.nn name, output shape without the batch, parameters of their own.

    What a module computes with the weights of a part, without running the part, is its own. Every trainable number
    that takes part is in one row.
    """
    rows: list[tuple[str, str, int]] = []
    counted: set[Tensor] = set()
    for module, output, _ in ran(model, torch.zeros(1, *shape, device=next(model.parameters()).device)):
        own = {p for p in module.parameters() if p.requires_grad} - counted
        counted |= own
        rows.append((type(module).__name__, output, sum(p.numel() for p in own)))
    return tuple(rows)
