"""Where a run computes, when it begins, what it keeps and whom it tells."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, field_serializer

from tui_trainer.settings.fields import (
    Group,
    address,
    duration,
    setting,
    size,
)


class RunSettings(Group):
    """Where a run computes, when it begins, what it keeps and whom it tells."""

    device: str = setting(
        "auto",
        "run",
        "Device",
        "auto takes the first of cuda, mps, xpu and cpu that is there; or name one, such as cuda:1.",
        simple=True,
        pattern=r"^(auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?)$",
    )
    threads: int = setting(
        0,
        "run",
        "Threads",
        "CPU threads that compute; 0 is one a core. Fewer are faster beside other busy programs. Losses differ in the "
        "last digits with another number.",
        ge=0,
        le=4096,
    )
    seed: int | None = setting(
        None,
        "run",
        "Seed",
        "Same seed, same losses. Empty draws one, and the run records it.",
        ge=0,
        le=2**63 - 1,
        fixed="the order of the examples is drawn from it",
    )
    deterministic: bool = setting(
        False, "run", "Deterministic", "Only operations that give the same bits every time; slower on a GPU."
    )
    output_dir: str = setting(
        "runs",
        "run",
        "Output folder",
        "Where run folders are made.",
        min_length=1,
        max_length=4000,
        fixed="the run stays in its folder",
    )
    name: str | None = setting(
        None,
        "run",
        "Name",
        "Name of the run's folder: letters, digits, dot, dash, underscore. Empty makes one of time, model and data.",
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$",
        fixed="the run stays in its folder",
    )
    after: str | None = setting(
        None,
        "run",
        "After",
        "Begin when another run has ended: its name, the beginning of its name, its folder, or last. Empty begins at "
        "once.",
        min_length=1,
        max_length=4000,
        fixed="it belongs to the beginning of a run",
    )
    when_free: Annotated[str, BeforeValidator(size)] = setting(
        "0",
        "run",
        "When free",
        "Begin when a GPU has this much free memory: 10GiB or 800MB. With device auto it takes the first that has. "
        "0 begins at once.",
        pattern=r"^(0|[0-9]{1,9}(\.[0-9]{1,9})?[kMGT]i?B)$",
        fixed="it belongs to the beginning of a run",
    )
    val_interval: int = setting(
        1, "run", "Validate every", "Epochs from one validation to the next.", ge=1, le=1_000_000
    )
    save_every: int = setting(
        0, "run", "Save every", "Keep a checkpoint of its own every this many epochs; 0 is off.", ge=0, le=1_000_000
    )
    save_interval: Annotated[float, BeforeValidator(duration)] = setting(
        600.0,
        "run",
        "Save after",
        "In a long epoch save last.pt after this long: 90s, 15m or 2h. 0 saves at the end of epochs only.",
        ge=0,
        le=1e9,
    )
    save_top_k: int = setting(
        1, "run", "Keep best", "Best epochs to keep: one as best.pt; of several each also as epoch-N.pt.", ge=1, le=1000
    )
    log_interval: int = setting(
        0,
        "run",
        "Report every",
        "Batches from one loss report to the next; 0 reports by the clock, up to five times a second.",
        ge=0,
        le=10**9,
    )
    notify: Literal["auto", "osc9", "osc777", "bell", "off"] = setting(
        "auto",
        "run",
        "Notify",
        "How the terminal calls you when the run ends, asks, or its loss is not finite: auto is a desktop notification "
        "and the bell. The window's title shows the state, too, unless this is off.",
    )
    notify_url: Annotated[str | None, AfterValidator(address)] = setting(
        None,
        "run",
        "Notify address",
        "Web address that the same sentences are posted to as plain text, such as https://ntfy.sh/my-topic.",
        max_length=2000,
    )
    dry_run: bool = setting(
        False,
        "run",
        "Dry run",
        "One batch of training, validation and test, to see that all parts fit.",
        fixed="it belongs to the beginning of a run",
    )

    @field_serializer("notify_url")
    def _keep_back(self, _: str | None) -> None:
        """The address opens a mailbox: journals and checkpoints, which people share, do not hold it."""
