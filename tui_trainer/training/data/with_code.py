"""A data set on its way to a worker process, with the user's files that its classes are from."""

from typing import Any

from torch.utils.data import Dataset

from tui_trainer.own.loading import UserCode


class WithCode(Dataset[Any]):
    """A data set that brings the code of the user's classes along to worker processes, however these are started."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (UserCode(), self.dataset)  # in this order: a pickle is read from its beginning


def _unpacked(_code: UserCode, dataset: Any) -> WithCode:
    return WithCode(dataset)
