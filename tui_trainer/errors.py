"""What can go wrong, as sentences for the user, each with the exit code that tells a script the same."""


class TrainerError(Exception):
    """A fault with a known answer: the message says what is wrong, where, and what to do."""

    exit_code = 1


class SettingsError(TrainerError):
    """Settings that cannot be used; every problem found, not only the first."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UsageError(TrainerError):
    """A command that cannot be carried out as typed: no such run, no terminal for the screens."""

    exit_code = 2


class DataError(TrainerError):
    """Data that is missing, damaged, or does not fit the model."""

    exit_code = 3


class ModelError(TrainerError):
    """A model that cannot be built, or fails on its input."""

    exit_code = 4


class CheckpointError(TrainerError):
    """A checkpoint that is missing, damaged, or of another model."""

    exit_code = 5


class FolderError(TrainerError):
    """A run folder that cannot be made, read or written."""

    exit_code = 6


class LockedError(TrainerError):
    """A run folder that another process trains in."""

    exit_code = 7


class DivergedError(TrainerError):
    """A loss or a weight that is not finite."""

    exit_code = 8

    def __init__(self, message: str, *, step_taken: bool = False) -> None:
        super().__init__(message)
        self.step_taken = step_taken


class DeviceError(TrainerError):
    """A device that is missing or out of memory."""

    exit_code = 9
