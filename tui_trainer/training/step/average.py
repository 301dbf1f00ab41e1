"""The moving average of a model's weights, which often does better than those of the last step."""

import copy

import torch
from torch import Tensor, nn


class Average:
    """After each step `average = decay * average + (1 - decay) * weights`, beginning with those after the first.

    torch's AveragedModel gives the same numbers, but copies one to the device at each step, and that waits for it.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model)
        """The model with the averaged weights. Its buffers, such as batch statistics, are those of the model."""
        self.has_begun = False
        """False until there is something to average with."""
        self._model, self._share = model, 1 - decay
        self._kept, self._learned = _weights(self.module), _weights(model)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are."""
        if self.has_begun:
            torch._foreach_lerp_(self._kept, self._learned, self._share)
        else:
            torch._foreach_copy_(self._kept, self._learned)
        if buffers := list(self._model.buffers()):
            torch._foreach_copy_(list(self.module.buffers()), buffers)
        self.has_begun = True


def _weights(model: nn.Module) -> list[Tensor]:
    """Those that can be averaged."""
    return [weight for weight in model.parameters() if weight.is_floating_point()]
