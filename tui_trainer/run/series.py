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
    weights: list[float] = field(default_factory=list)
    """What each point is a mean over, such as batches. Points are joined by weighted means."""
    _filled: int = 0
    """Values in the last point, 0 when it is full."""

    def add(self, x: float, y: float, weight: float = 1) -> None:
        if self._filled:
            self.weights[-1] += weight
            share = weight / self.weights[-1]
            self.xs[-1] += (x - self.xs[-1]) * share
            self.ys[-1] += (y - self.ys[-1]) * share
        else:
            if len(self.xs) == self.limit:
                self._halve()
            self.xs.append(x)
            self.ys.append(y)
            self.weights.append(weight)
        self._filled = (self._filled + 1) % self.stride

    def _halve(self) -> None:
        pairs = list(zip(self.weights[::2], self.weights[1::2], strict=True))
        for values in (self.xs, self.ys):
            values[:] = [
                a + (b - a) * (v / (u + v)) for (u, v), a, b in zip(pairs, values[::2], values[1::2], strict=True)
            ]
        self.weights = [u + v for u, v in pairs]
        self.stride *= 2

    def cut(self, x: float) -> None:
        """Leave out the points beyond `x`."""
        kept = bisect.bisect_right(self.xs, x)
        if kept < len(self.xs):
            del self.xs[kept:], self.ys[kept:], self.weights[kept:]
            self._filled = 0

    def __len__(self) -> int:
        return len(self.xs)
