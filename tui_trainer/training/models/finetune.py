"""Fine-tuning: the layers of a model from first to last, which of them rest, and how fast each learns."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from tui_trainer.errors import ModelError
from tui_trainer.settings.places import short
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean

_OPENED = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def blocks(model: nn.Module) -> list[list[nn.Parameter]]:
    """The trainable parameters of each layer, in the order in which the model holds its layers.

    A layer is a part of the model: of a residual network a block, of a vision transformer an encoder block. Lists of
    parts, and parts that hold over half of all, are opened to find them. A normalisation belongs to the layer before
    it; what an opened part holds itself, such as position embeddings, to the first.
    """
    found: list[list[nn.Parameter]] = []
    beside: list[nn.Parameter] = []
    seen: set[int] = set()

    def fresh(parameters: Iterator[nn.Parameter]) -> list[nn.Parameter]:
        return [p for p in parameters if p.requires_grad and id(p) not in seen]

    half = sum(p.numel() for p in model.parameters()) / 2

    def walk(module: nn.Module) -> None:
        own = fresh(module.parameters())
        if any(module.children()) and (type(module) in _OPENED or sum(p.numel() for p in own) > half):
            direct = fresh(module.parameters(recurse=False))
            seen.update(map(id, direct))
            beside.extend(direct)
            for child in module.children():
                walk(child)
        elif own:
            seen.update(map(id, own))
            if found and all(p.dim() < 2 for p in own):
                found[-1] += own
            else:
                found.append(own)

    walk(model)
    if beside:
        found[:1] = [beside + found[0]] if found else [beside]
    return found


def groups(model: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, the last layer first: `lr_scale` is what each multiplies the rate by."""
    layers = blocks(model)
    scales = [settings.layer_decay**depth for depth in range(len(layers))]
    return [
        {"params": layer, "lr_scale": scale, "lr": settings.lr * scale}
        for layer, scale in zip(reversed(layers), scales, strict=True)
    ]


class Freezing:
    """All but the last layer of a model rests in its first epochs: neither weights nor statistics change."""

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        """
        Raises:
            ModelError: the model has one layer only.
        """
        layers = blocks(model)
        if len(layers) < 2:
            raise ModelError(
                f"freeze_epochs: {clean(short(settings.model), 60)} has one layer, which must learn. Set it to 0."
            )
        self._epochs, self._all = settings.freeze_epochs, settings.epochs
        head = {id(p) for p in layers[-1]}
        self._learns = sum(p.numel() for p in layers[-1])
        self._resting = [p for layer in layers[:-1] for p in layer]
        self._parts = [part for part in model.modules() if _holds(part) and not head & _holds(part)]
        self._on = False

    def set(self, epoch: int) -> str:
        """Let rest what does in `epoch`; a sentence when that is another part of the model than before."""
        on = epoch <= self._epochs
        if on == self._on:
            return ""
        self._on = on
        self._require(not on)
        if not on:
            return f"all layers learn from epoch {epoch} on"
        end = "in the whole run" if self._epochs >= self._all else f"until the end of epoch {self._epochs}"
        return f"only the last layer learns, {self._learns:,} parameters, {end}"

    def rest(self) -> None:
        """Let the parts that rest use the statistics that they have, after the model was set to training."""
        if self._on:
            for part in self._parts:
                part.training = False

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Nothing rests, so that parameters can be counted."""
        self._require(True)
        try:
            yield
        finally:
            self._require(not self._on)

    def _require(self, learns: bool) -> None:
        for parameter in self._resting:
            parameter.requires_grad_(learns)


def _holds(part: nn.Module) -> set[int]:
    """What a module holds itself: parameters and statistics."""
    own = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
    return {id(tensor) for tensor in own}
