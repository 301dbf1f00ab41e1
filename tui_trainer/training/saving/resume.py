"""Carrying on: whether a checkpoint is of this run's data and machine, and what is different now."""

from collections.abc import Iterator

from tui_trainer.errors import CheckpointError
from tui_trainer.own import trust
from tui_trainer.run.resume import Resume
from tui_trainer.settings.schema import FIELDS
from tui_trainer.settings.writing import as_text
from tui_trainer.training.course import Course
from tui_trainer.training.saving.state import State, environment


def carry_on(course: Course, state: State, shown: str, resume: Resume) -> Iterator[str]:
    """Put `course` where `state` was taken; warnings of what cannot be as it was. `shown` names its file in messages.

    Raises:
        CheckpointError: it is of other data, of another model, or of other code.
    """
    if (changed := trust.changed(state.code, course.code.digests())) is not None:
        if not resume.allow_code_change:
            raise CheckpointError(changed)
        yield f"the run goes on with other code: {', '.join(course.code.digests())}"
    course.restore(state, shown)
    for name, count in course.fingerprint.items():
        before = state.data.get(name)
        if before == count:
            continue
        what = f"{name} were {before:,}, now {count:,}" if name != "checksum" else "the examples are others than before"
        if not resume.allow_data_change:
            raise CheckpointError(
                f"The data of this run has changed: {what}. Bring the data back, or carry on with the new with "
                "--allow-data-change."
            )
        yield f"the data has changed: {what}"
    then, now = state.environment, environment(course.device)
    others = [f"{name} {then.get(name)} → {now[name]}" for name in now if then.get(name) != now[name]]
    if others:
        yield f"from here on the losses differ in their last digits from those of an unbroken run: {', '.join(others)}"
    course.changed = tuple(
        (name, as_text(state.settings.get(name)) or "none", as_text(value) or "none")
        for name, value in course.settings.model_dump().items()
        if name in FIELDS and name in state.settings and state.settings[name] != value
    )
    if course.changed and course.out_of_patience():
        course.progress.unimproved = 0
        yield "the patience had run out; it is counted anew from here"
