"""torchvision's classification models, each made for the images' channels and size and for the number of outputs."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tui_trainer.catalog.zoo import ZOO, ZooFacts
from tui_trainer.errors import ModelError
from tui_trainer.text import clean, did_you_mean

FROM_DATA = ("num_classes", "image_size", "input_size")
"""Arguments of torchvision's that come from the images."""
OWN = ("weights", "progress", "pretrained", "aux_logits", "init_weights", "transform_input")
"""Arguments of torchvision's that are set here: a model gives one tensor, so auxiliary heads are left out."""


def build(name: str, shape: tuple[int, int, int], outputs: int, **arguments: Any) -> nn.Module:
    """torchvision's model called `name`: images [N, C, H, W] of `shape` in, raw outputs [N, outputs] out.

    Its weights are drawn from torch's global generator. `arguments` go to torchvision's own function.

    Raises:
        ModelError: there is no such model, or it does not take such images or arguments.
    """
    facts = find(name)
    if problem := facts.refuses(shape):
        raise ModelError(problem)
    model = _construct(facts, shape, outputs, arguments)
    if shape[0] != 3:
        replace_first(model, shape[0])
    return model


def sketch(name: str, shape: tuple[int, int, int], outputs: int, **arguments: Any) -> nn.Module:
    """The same model without memory or values, on torch's device `meta`: for its layers, sizes and counts."""
    with WithoutValues():
        return build(name, shape, outputs, **arguments).to("meta")


class WithoutValues(TorchFunctionMode):
    """What will hold weights is made on the device `meta`; some builders compute widths with tensors that stay."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = kwargs | {"device": "meta"}
        return func(*args, **kwargs)


def find(name: str) -> ZooFacts:
    """The facts of the model called `name`.

    Raises:
        ModelError: there is no such model.
    """
    if name not in ZOO:
        raise ModelError(
            f"torchvision has no classification model {clean(name, 60)} that is known here."
            f"{did_you_mean(name, ZOO)} All are listed by: tui-trainer models"
        )
    return ZOO[name]


def first_of(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """The convolution that sees the images, and its name in the model."""
    return next((name, part) for name, part in model.named_modules() if isinstance(part, nn.Conv2d))


def head_of(model: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The layer that gives the outputs, and its name in the model."""
    layers = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    return layers[-1]


def _construct(facts: ZooFacts, shape: tuple[int, int, int], outputs: int, arguments: dict[str, Any]) -> nn.Module:
    from torchvision import models  # 0.4 s, and only these models need it

    name, typed = facts.name, ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    for key in (*FROM_DATA, *OWN):
        if key in arguments:
            why = "comes from the images" if key in FROM_DATA else "is set by the program"
            raise ModelError(f"{name}: the argument {key} {why} and cannot be given.")
    try:
        builder = models.get_model_builder(name)
    except ValueError:
        import torchvision

        raise ModelError(f"torchvision {torchvision.__version__} has no model {name}. Update torchvision.") from None
    try:
        return builder(num_classes=outputs, **_needed(name, shape), **arguments)  # type: ignore[no-any-return]
    except Exception as error:
        if not arguments:
            raise ModelError(f"{name} cannot be built: {type(error).__name__}: {clean(error)}.") from error
        raise ModelError(
            f"{name} cannot be built with {clean(typed)}: {clean(error)}.{_hint(builder, arguments)}"
        ) from error


def _needed(name: str, shape: tuple[int, int, int]) -> dict[str, Any]:
    """What torchvision's function for `name` must be told for images of `shape`."""
    if name.startswith("vit_"):
        return {"image_size": shape[1]}
    if name.startswith("maxvit"):
        return {"input_size": shape[1:]}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    return {}


def _hint(builder: Callable[..., nn.Module], arguments: dict[str, Any]) -> str:
    """The arguments that could have been meant."""
    own = inspect.signature(inspect.signature(builder).return_annotation).parameters.values()
    known = [p.name for p in own if isinstance(p.default, int | float) and p.name not in (*FROM_DATA, *OWN)]
    hints = [did_you_mean(key, known) for key in arguments if key not in known]
    return next((hint for hint in hints if hint), f" It takes {', '.join(known)}." if known else "")


# --- the first convolution ---

_FAN_OUT = partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu")


def _as_patches(weight: Tensor) -> Tensor:
    return nn.init.trunc_normal_(weight, std=math.sqrt(1 / weight[0].numel()))


DRAWN: dict[str, Callable[[Tensor], object] | None] = {
    "alexnet": None,
    "convnext": partial(nn.init.trunc_normal_, std=0.02),
    "densenet": nn.init.kaiming_normal_,
    "googlenet": partial(nn.init.trunc_normal_, std=0.01),
    "inception": partial(nn.init.trunc_normal_, std=0.1),
    "maxvit": partial(nn.init.normal_, std=0.02),
    "shufflenetv2": None,
    "squeezenet": nn.init.kaiming_uniform_,
    "swin_transformer": None,
    "vision_transformer": _as_patches,
}
"""How torchvision's modules draw their convolutions, None for torch's own way; the others draw by the fan out."""


def replace_first(model: nn.Module, channels: int) -> None:
    """Put a convolution for `channels` in the place of the one that sees the images, drawn as its family draws."""
    name, old = first_of(model)
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    draw = DRAWN.get(type(model).__module__.rpartition(".")[2], _FAN_OUT)
    if draw:
        draw(new.weight)
        if new.bias is not None:
            nn.init.zeros_(new.bias)
    place, _, last = name.rpartition(".")
    setattr(model.get_submodule(place), last, new)
