"""What a benchmark says: one measured figure beside the target it is held against.

`ui_cost.py`, `keys.py`, `start.py`, `growth.py` and `runs.py` each have `measure(quick: bool) -> list[Figure]`;
`run.py` calls it.
"""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """One line of a table."""

    name: str
    """What was measured, as a reader of the table says it: "form painted", "screen on against headless"."""
    value: float
    """The median where several were measured."""
    unit: str
    """"s", "ms", "MB", "steps/s"; "" for a ratio."""
    target: str
    """What issue 3 asks for, in words: "0.97 or better", "1.2 s or less". Empty when the figure is only information."""
    note: str = ""
    """How it was measured, when the name does not say it all."""
    low: float | None = None
    """The lowest of several."""
    high: float | None = None
    """The highest of several."""

    def __str__(self) -> str:
        spread = "" if self.low is None or self.high is None else f" ({self.low:.4g} to {self.high:.4g})"
        unit = f" {self.unit}" if self.unit else ""
        target = f", target {self.target}" if self.target else ""
        return f"{self.name}: {self.value:.4g}{unit}{spread}{target}"

    def as_plain(self) -> dict[str, object]:
        """Plain values for `results.json`."""
        return asdict(self)
