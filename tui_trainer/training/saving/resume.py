"""Carrying on: whether a checkpoint is of this run's data and machine, and what is different now."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tui_trainer.errors import CheckpointError
from tui_trainer.own import trust
from tui_trainer.run.resume import Resume
from tui_trainer.settings.schema import FIELDS, as_text
from tui_trainer.training.saving import state
from tui_trainer.training.saving.safe_load import Checkpoint

if TYPE_CHECKING:
    from tui_trainer.training.course import Course


def carry_on(course: "Course", saved: Checkpoint, shown: str, resume: Resume) -> Iterator[str]:
    """Put `course` where `saved` was taken; warnings of what cannot be as it was.

    Raises:
        CheckpointError: it is of other data, of another model, or of a newer program.
    """
    if not isinstance(saved.get("format"), int):
        raise CheckpointError(
            f"{shown} holds weights, but not all that a run needs to carry on: tui-trainer did not write it, or an "
            "older one did."
        )
    if saved["format"] > state.FORMAT:
        raise CheckpointError(
            f"{shown} was written by tui-trainer {saved.get('written_by')}, which is newer than this one. Update it."
        )
    if (changed := trust.changed(saved.get("code", {}), course.code)) is not None:
        if not resume.allow_code_change:
            raise CheckpointError(changed)
        yield f"the run goes on with other code: {', '.join(course.code)}"
    state.restore(course, saved, shown)
    for name, count in course.fingerprint.items():
        before = saved["data"].get(name)
        if before == count:
            continue
        what = f"{name} were {before:,}, now {count:,}" if name != "checksum" else "the examples are others than before"
        if not resume.allow_data_change:
            raise CheckpointError(
                f"The data of this run has changed: {what}. Bring the data back, or carry on with the new with "
                "--allow-data-change."
            )
        yield f"the data has changed: {what}"
    then, now = saved["environment"], state.environment(course.device)
    others = [f"{name} {then.get(name)} → {now[name]}" for name in now if then.get(name) != now[name]]
    if others:
        yield f"from here on the losses differ in their last digits from those of an unbroken run: {', '.join(others)}"
    settings_then = json.loads(saved["settings"])
    course.changed = tuple(
        (name, as_text(settings_then.get(name)) or "none", as_text(value) or "none")
        for name, value in course.settings.model_dump().items()
        if name in FIELDS and name in settings_then and settings_then[name] != value
    )
    if course.changed and course.out_of_patience():
        course.unimproved = 0
        yield "the patience had run out; it is counted anew from here"
