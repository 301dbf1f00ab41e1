"""The layers of any model, found by letting one example through it."""

import torch
from torch import Tensor, nn

from tui_trainer.catalog import Shape


@torch.no_grad()
def layers_of(model: nn.Module, shape: Shape) -> tuple[tuple[str, str, int], ...]:
    """The layers in the order they end: torch.nn name, output shape without the batch, parameters of their own.

    A layer is a module without parts, or one that has weights beside those of its parts. What a module computes with
    the weights of a part, without running the part, is its own. Every trainable number that takes part is in one row.
    """
    rows: list[tuple[str, str, int]] = []
    counted: set[Tensor] = set()

    def note(module: nn.Module, _inputs: object, output: object) -> None:
        own = {p for p in module.parameters() if p.requires_grad} - counted
        counted.update(own)
        while isinstance(output, tuple | list) and output:
            output = output[0]
        sides = " x ".join(str(n) for n in output.shape[1:]) if isinstance(output, Tensor) else ""
        rows.append((type(module).__name__, sides, sum(p.numel() for p in own)))

    layers = [m for m in model.modules() if not list(m.children()) or list(m.parameters(recurse=False))]
    handles = [layer.register_forward_hook(note) for layer in layers]
    was_training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        model(torch.zeros(1, *shape, device=next(model.parameters()).device))
    finally:
        for module, training in was_training.items():
            module.training = training  # frozen parts may be in another mode than the whole
        for handle in handles:
            handle.remove()
    return tuple(rows)
