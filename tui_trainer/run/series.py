"""A curve of bounded size, for charts of runs of any length."""

import bisect
from dataclasses import dataclass, field


@dataclass(slots=True)
class Series:
    """A curve that stays small: past `limit` points, neighbours are averaged two by two."""

    limit: int = 1024
    stride: int = 1
    """Values that one point averages."""
    xs: list[float] = field(default_factory=list)
    ys: list[float] = field(default_factory=list)
    _filled: int = 0
    """Values in the last point, 0 when it is full."""

    def add(self, x: float, y: float) -> None:
        if self._filled:
            n = self._filled
            self.xs[-1] += (x - self.xs[-1]) / (n + 1)
            self.ys[-1] += (y - self.ys[-1]) / (n + 1)
        else:
            if len(self.xs) == self.limit:
                self._halve()
            self.xs.append(x)
            self.ys.append(y)
        self._filled = (self._filled + 1) % self.stride

    def _halve(self) -> None:
        self.xs = [(a + b) / 2 for a, b in zip(self.xs[::2], self.xs[1::2], strict=True)]
        self.ys = [(a + b) / 2 for a, b in zip(self.ys[::2], self.ys[1::2], strict=True)]
        self.stride *= 2

    def cut(self, x: float) -> None:
        """Leave out the points beyond `x`."""
        kept = bisect.bisect_right(self.xs, x)
        if kept < len(self.xs):
            del self.xs[kept:], self.ys[kept:]
            self._filled = 0

    def __len__(self) -> int:
        return len(self.xs)
