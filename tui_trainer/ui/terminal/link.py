"""How long a picture takes to the eye: the system and ssh hold megabytes for a terminal that is slow to read.

A terminal answers a request for its status when it has drawn everything that came before it. So the time to the answer
is that of the whole way there and back, and while an answer is out a newer picture would only lie behind the last one.
"""

import time
from collections.abc import Callable

ASK = "\x1b[5n"
"""Device status report: are you well?"""
ANSWER = "\x1b[0n"
"""I am. No key sends this."""


class Link:
    """The way to the terminal and back, measured by at most one request at a time.

    A terminal that has never answered is never waited for. One that has is waited for as long as `patience`; its answer
    counts whenever it comes, and is given up after `AGAIN`.
    """

    PATIENCE = 5.0
    """Seconds after which an answer is likely lost, and pictures flow again."""
    AGAIN = 30.0
    """Seconds after which an answer is lost, and the next request may go out."""
    SLOW = 0.3
    """Seconds above which a person notices that keys are answered late."""
    SHARE = 0.3
    """Of the smoothed time, what the newest measurement makes: one hiccup makes no slow link."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: float | None = None
        """When the request that is out was sent."""
        self._answers = False
        """The terminal has answered before."""
        self._smoothed = self._newest = 0.0

    def asks(self) -> bool:
        """True when a request must be sent now; it counts as sent."""
        now = self._clock()
        if self._asked is not None and now - self._asked < max(self.AGAIN, 4 * self._newest):
            return False
        self._asked = now
        return True

    def answered(self, *, counts: bool = True) -> None:
        """The terminal has drawn what it was sent. `counts` is False when it was this program that was busy."""
        if self._asked is None:
            return
        if counts:
            self._newest = self._clock() - self._asked
            self._smoothed += self.SHARE * (self._newest - self._smoothed)
        self._asked, self._answers = None, True

    def forget(self) -> None:
        """What is still out will not be heard."""
        self._asked = None

    @property
    def is_out(self) -> bool:
        """An answer may come any moment."""
        return self._asked is not None and self._age < self._patience

    @property
    def waits(self) -> bool:
        """True while the last picture is on its way to a terminal that tells when it has arrived."""
        return self._answers and self.is_out

    @property
    def round_trip(self) -> float:
        """Seconds there and back, smoothed; 0 while nothing is known. An answer that stays away counts already."""
        return max(self._smoothed, min(self._age, self._patience) if self._answers else 0.0)

    @property
    def slowness(self) -> float:
        """The round trip where it is one that people notice, else 0."""
        return self.round_trip if self.round_trip > self.SLOW else 0.0

    @property
    def _age(self) -> float:
        """Seconds for which a request is out."""
        return 0.0 if self._asked is None else self._clock() - self._asked

    @property
    def _patience(self) -> float:
        return max(self.PATIENCE, 2 * self._newest)


class Answers:
    """Takes the answers out of what is typed, also where one comes in two pieces."""

    def __init__(self) -> None:
        self.held = ""
        """What may be the beginning of an answer, or of a key."""

    def taken_from(self, text: str, *, expected: bool) -> tuple[str, bool]:
        """What of `text` was typed, and whether there was an answer; a piece is held back where one is expected."""
        text, self.held = self.held + text, ""
        typed = text.replace(ANSWER, "")
        answered = len(typed) < len(text)
        if expected and not answered:
            for length in range(len(ANSWER) - 1, 0, -1):
                if typed.endswith(ANSWER[:length]):
                    typed, self.held = typed[:-length], typed[-length:]
                    break
        return typed, answered

    def released(self) -> str:
        """What was held back and was typed after all."""
        typed, self.held = self.held, ""
        return typed
