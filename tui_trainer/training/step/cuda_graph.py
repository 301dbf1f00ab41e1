"""A whole training step recorded once as a CUDA graph and launched as one piece, with no Python between kernels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tui_trainer.settings.places import is_place
from tui_trainer.settings.schema import Settings

Loss = float | Tensor
Recording = tuple[Callable[[], None], Loss]
"""What launches the recorded kernels once more, and the tensor in which they leave the loss."""


FUSED = ("sgd", "adam", "adamw")
"""Optimizers whose update is one kernel on a GPU, that leaves weights alone when a flag on the device says so."""


def why_no_graph(settings: Settings, device: torch.device) -> str | None:
    """What keeps a run from being recorded, as the end of a sentence; None when nothing does."""
    s = settings
    if device.type != "cuda":
        return f"{device.type} has none"
    if is_place(s.model) and s.cuda_graph != "on":
        return "your own model may compute something else in each step; --cuda-graph on if it does not"
    if s.grad_accum_steps > 1:
        return "grad_accum_steps makes steps of several batches"
    if s.amp == "fp16":
        return "amp fp16 changes its scale on the way; bf16 does not"
    if s.compile:
        return "compile brings its own"
    if s.loss != "cross_entropy":
        return f"loss {s.loss} looks at the labels on the way"
    if s.optimizer not in FUSED:
        return f"{s.optimizer} has no fused update"
    return None


class Graph:
    """A step on batches of one shape. The first few are done as always; the rest replays what was recorded of one.

    The recording reads its batch from where `X` and `y` were then, so each batch is copied there. Gradients and loss
    stay in the recording's memory and are overwritten by the next replay.
    """

    WARM_UP = 3
    """Steps before the recording: libraries choose their kernels and the optimizer makes its state."""

    def __init__(
        self,
        learn: Callable[[Tensor, Tensor], Loss],
        parameters: list[nn.Parameter],
        warned: Callable[[str], None],
        record: Callable[[Callable[[], Loss]], Recording] | None = None,
    ) -> None:
        """`learn` is the whole step, from zeroing gradients to the update; `warned` hears why it cannot be recorded."""
        self._learn, self._parameters, self._warned = learn, parameters, warned
        self._record = record or record_cuda
        self._steps = 0
        self._replay: Callable[[], None] | None = None
        self._failed = False

    def forget(self) -> None:
        """Record anew: the tensors that the recording works on have been replaced."""
        self._steps, self._replay = 0, None

    def __call__(self, X: Tensor, y: Tensor) -> Loss:
        """One step on a batch; the loss, on the device."""
        if self._failed:
            return self._learn(X, y)
        if self._steps < self.WARM_UP:
            self._steps += 1
            return aside(X.device, lambda: self._learn(X, y))
        if self._replay is None:
            self._X, self._y = X.clone(), y.clone()
            try:
                self._replay, self._loss = self._record(lambda: self._learn(self._X, self._y))
            except RuntimeError as error:
                self._failed = True
                for parameter in self._parameters:
                    parameter.grad = None
                self._warned(str(error).split("\n")[0])
                return self._learn(X, y)
            self._gradients = [parameter.grad for parameter in self._parameters]
        self._X.copy_(X)
        self._y.copy_(y)
        self._replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient  # a smaller batch in between left its own
        return self._loss


def record_cuda(step: Callable[[], Loss]) -> Recording:
    """Note down the kernels of `step` without running them. What other threads ask of the device is left alone."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        loss = step()
    return graph.replay, loss


def aside(device: torch.device, step: Callable[[], Loss]) -> Loss:
    """Run `step` on a stream of its own, as CUDA wants it before a recording."""
    if device.type != "cuda":
        return step()
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        loss = step()
    torch.cuda.current_stream(device).wait_stream(stream)
    return loss
