"""Events made by hand: one of each kind, and short ways to write a run down."""

from tui_trainer.run.events import (
    BatchTrained,
    CheckpointSaved,
    EpochEnded,
    Evaluated,
    Event,
    LearningRateChanged,
    Preparing,
    RunEnded,
    RunHandedOver,
    RunPaused,
    RunResumed,
    RunStarted,
    Warned,
)
from tui_trainer.run.state import RunState
from tui_trainer.settings.schema import Settings


def started(**settings: object) -> RunStarted:
    """100 training, 20 validation and 40 test examples; 10 batches of 10."""
    used = Settings().model_copy(update={"batch_size": 10, "epochs": 5, "seed": 7} | settings)
    return RunStarted(
        settings=used.model_dump(),
        classes=("cat", "dog"),
        train_examples=100,
        valid_examples=20,
        test_examples=40,
        parameters=12,
        layers=(("Flatten", "4", 0), ("Linear", "2", 10)),
        device="cpu, 2 threads",
        data="fashion-mnist-mini part of the program",
    )


def trained(
    step: int,
    loss: float = 1.0,
    *,
    lr: float = 1e-3,
    speed: float = 100.0,
    grad_norm: float | None = 0.5,
    elapsed: float = 1.0,
) -> BatchTrained:
    """Batch `step` of a run of 10 batches an epoch."""
    return BatchTrained(
        epoch=(step - 1) // 10 + 1,
        batch=(step - 1) % 10 + 1,
        batches=10,
        step=step,
        loss=loss,
        lr=lr,
        grad_norm=grad_norm,
        examples_per_second=speed,
        data_wait=0.1,
        elapsed=elapsed,
    )


def evaluated(
    step: int, loss: float = 0.5, *, accuracy: float = 0.75, split: str = "valid", seconds: float = 2.0
) -> Evaluated:
    return Evaluated(
        split=split,
        epoch=(step - 1) // 10 + 1,
        step=step,
        loss=loss,
        accuracy=accuracy,
        confusion=((9, 1), (4, 6)),
        seconds=seconds,
    )


def saved(step: int, kind: str = "last", *, name: str | None = None, replaces: str | None = None) -> CheckpointSaved:
    epoch = (step - 1) // 10 + 1
    path = f"checkpoints/{name or kind}.pt"
    return CheckpointSaved(kind=kind, epoch=epoch, step=step, path=path, bytes=1500, seconds=0.012, replaces=replaces)


def epoch_ended(epoch: int, train_loss: float = 0.9) -> EpochEnded:
    return EpochEnded(epoch=epoch, train_loss=train_loss, seconds=3.5)


def ended(reason: str = "finished", *, error: str | None = None, exit_code: int = 0) -> RunEnded:
    return RunEnded(
        reason=reason,
        error=error,
        exit_code=exit_code,
        best_epoch=1,
        best_loss=0.5,
        best_accuracy=0.75,
        seconds=12.5,
    )


def folded(*events: Event) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    return state


EVERY_KIND: tuple[Event, ...] = (
    Preparing(what="downloading data: 12.3 of 30.9 MB"),
    started(name="näme \x1b[31m"),
    trained(1),
    trained(2, grad_norm=None),
    evaluated(10),
    evaluated(50, split="test"),
    epoch_ended(1),
    saved(10, "best"),
    saved(30, "epoch", name="epoch-3", replaces="checkpoints/epoch-1.pt"),
    LearningRateChanged(lr=5e-4, by="you"),
    RunPaused(),
    RunResumed(by="viewer on pts/3"),
    RunHandedOver(),
    Warned(text='two\nlines, "quotes" and \u2028 more'),
    ended(),
    RunEnded(
        reason="failed",
        error="OSError: gone",
        exit_code=1,
        best_epoch=None,
        best_loss=None,
        best_accuracy=None,
        seconds=0.0,
    ),
)
