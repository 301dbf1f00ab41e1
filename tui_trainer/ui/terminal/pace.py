"""How often the screen may draw itself: it measures what drawing costs and keeps to a small share of the time."""

import time


class Pace:
    """Allows a refresh when its cost, spread over the time since the last one, stays below `share`.

    The training needs every core and the interpreter, so each millisecond drawn is a millisecond not trained.
    """

    def __init__(self, share: float, least: float, most: float = 10.0) -> None:
        self.share = share
        """Fraction of the time that refreshes may take."""
        self.least, self.most = least, most
        """Bounds of the time between two refreshes, seconds."""
        self.cost = 0.0
        """What a refresh costs, CPU seconds of the screen's thread, smoothed."""
        self._last = -1e9

    @property
    def interval(self) -> float:
        """Seconds from one refresh to the next."""
        return min(self.most, max(self.least, self.cost / self.share))

    def due(self, *, busy: bool) -> bool:
        """True when it is time; while nothing trains (`busy` False) drawing is free."""
        return time.monotonic() - self._last >= (self.interval if busy else self.least)

    def measured(self, cost: float | None) -> None:
        """Take note of a refresh that was just done; None when it cost nothing of its own."""
        self._last = time.monotonic()
        if cost is not None:
            self.cost = cost if self.cost == 0 else self.cost + 0.3 * (cost - self.cost)
