"""What was measured so far: raw figures in `results.json`, and `RESULTS.md` written from them."""

import json
import statistics
from pathlib import Path
from typing import Any

from comparisons import QUIET, Comparison, disturbance, ratio, steady

FOLDER = Path(__file__).parent
RAW, TABLES = FOLDER / "results.json", FOLDER / "RESULTS.md"

COMPARED = {
    "epoch": (
        "An epoch with its evaluation, on CPU",
        "The tutorial's work: 784-512-512-10, cross-entropy, SGD 0.001, batch 64, 60,000 images trained on and 10,000 "
        "measured after each epoch. Ours is `--preset tutorial --no-ui`, checkpoints and journal written. Each peer is "
        "written as its documentation shows, without bars, loggers and checkpoints. Weights start from the same "
        "distribution everywhere. The tutorial, Ignite, fastai and Lightning read torchvision's data set through a "
        "DataLoader; skorch and Keras get arrays. The bare loop and ours evaluate 512 images at once, the others 64.",
    ),
    "conv": (
        "Convolutional networks, on CPU",
        "Against a bare loop over the same tensors, Adam, batch 64, only so many batches an epoch; then all 10,000 "
        "test images are measured. Ours also writes its checkpoints, 134 MB each for ResNet-18; the bare loop writes "
        "nothing.",
    ),
    "loader": (
        "The loader path, on CPU",
        "`--data-path loader` against a plain DataLoader loop with the same workers over bytes in memory.",
    ),
    "gpu": ("On a GPU", "The same work with `--device cuda` on both sides, on the same card."),
}
MEASURED = {
    "screen": ("The screen", "The program in a terminal of 120 x 40, the tutorial's model."),
    "start": ("The start", ""),
    "growth": ("Long runs and big folders", ""),
    "viewers": ("Viewers of a run in the background", ""),
    "protections": ("What the protections cost", ""),
}
COLUMNS = ["against", "version", "theirs, s", "ours, s", "ours is faster", "target", "met", "accuracy: theirs, ours"]
COLUMNS += ["whole process, s: theirs, ours", "epochs", "pairs", "disturbed", "machine"]
HOW = """Written by `uv run --group bench benchmarks/run.py --write`; raw figures are in `results.json`.

Both sides of a pair take turns from epoch to epoch, each in a process of its own that stands still while the other has
its turn: a machine that is slower for a minute is so for both. "Ours is faster" is their seconds divided by ours, epoch
by epoch without the first, which includes warming up; of that the median, and the median of all pairs with the lowest
and the highest: above 1 ours is faster, 0.95 is 5 % slower. The other columns are medians over all pairs.
"Whole process" is all turns of a process from its start to its end, imports and loading included; where two programs
train the same epochs it is what somebody at a shell waits for. Accuracy is that on the test images after the last
epoch: nobody wins by doing less. "Disturbed" counts the pairs beside which other processes kept more than a tenth
of a core busy: they are in the figures, and where there are any, measure again on a machine with nothing else to do."""


class Results:
    """The figures of all runs so far, by subject and name."""

    def __init__(self) -> None:
        self.raw: dict[str, dict[str, Any]] = json.loads(RAW.read_text()) if RAW.exists() else {}

    def keep(self, name: str, found: dict[str, Any]) -> bool:
        """Take in a measurement. False when there is a better one: a quick one or one of fewer pairs replaces none."""
        known = self.raw.get(name)
        if known and _weight(found) < _weight(known):
            return False
        self.raw[name] = found
        return True

    def write(self, comparisons: list[Comparison]) -> None:
        """Both files, whole."""
        RAW.write_text(json.dumps(dict(sorted(self.raw.items())), indent=1) + "\n")
        TABLES.write_text(self.as_markdown(comparisons))

    def as_markdown(self, comparisons: list[Comparison]) -> str:
        machines = list(dict.fromkeys(found["machine"] for found in self.raw.values()))
        letters = {machine: chr(ord("A") + i) for i, machine in enumerate(machines)}
        lines = ["# Results", "", *HOW.splitlines(), ""]
        lines += [f"- Machine {letters[machine]}: {machine}" for machine in machines]
        for subject, (title, text) in COMPARED.items():
            rows = [self._compared(c, letters) for c in comparisons if c.subject == subject]
            lines += ["", f"## {title}", "", text, ""]
            if subject == "gpu" and not any(name.startswith("gpu/") for name in self.raw):
                lines.append("not measured: no GPU here")
                continue
            lines += _table(COLUMNS, rows)
        for subject, (title, text) in MEASURED.items():
            lines += ["", f"## {title}", ""] + ([text, ""] if text else [])
            rows = [row for name in MODULES[subject] for row in self._measured(f"{subject}/{name}", letters)]
            lines += _table(["what", "value", "from", "to", "target", "how", "machine"], rows)
        return "\n".join(lines) + "\n"

    def _compared(self, comparison: Comparison, letters: dict[str, str]) -> list[str]:
        found = self.raw.get(comparison.full_name)
        if found is None:
            text = "not measured" if comparison.version() else "not installed"
            return [comparison.title, text] + [""] * (len(COLUMNS) - 2)
        pairs, target = found["pairs"], found["least"]
        ratios = sorted(ratio(pair) for pair in pairs)
        middle = statistics.median(ratios)
        disturbed = sum(disturbance(pair) > QUIET for pair in pairs)

        def median(side: str, name: str, digits: int) -> str:
            values = [pair[side][name] for pair in pairs if pair[side][name] is not None]
            return f"{statistics.median(values):.{digits}f}" if values else "none"

        return [
            found["title"] + (" (quick)" if found["quick"] else ""),
            f"{'torch ' if comparison.distribution == 'torch' else ''}{pairs[-1]['theirs']['version']}",
            _seconds(statistics.median(steady(pair["theirs"]) for pair in pairs)),
            _seconds(statistics.median(steady(pair["ours"]) for pair in pairs)),
            f"{middle:.3g} ({ratios[0]:.3g} to {ratios[-1]:.3g})",
            "" if target is None else f"{target:.3g} or more",
            "" if target is None else "disturbed" if disturbed else "yes" if middle >= target else "**no**",
            f"{median('theirs', 'accuracy', 3)}, {median('ours', 'accuracy', 3)}",
            f"{median('theirs', 'process_seconds', 1)}, {median('ours', 'process_seconds', 1)}",
            str(len(pairs[-1]["ours"]["epoch_seconds"])),
            str(len(pairs)),
            str(disturbed),
            f"{letters[found['machine']]}, {found['date']}",
        ]

    def _measured(self, name: str, letters: dict[str, str]) -> list[list[str]]:
        found = self.raw.get(name)
        if found is None:
            return [[name.partition("/")[2], "not measured"] + [""] * 5]
        rows = []
        for figure in found["figures"]:
            low, high = ("" if figure[end] is None else f"{figure[end]:.4g}" for end in ("low", "high"))
            rows.append(
                [
                    figure["name"] + (" (quick)" if found["quick"] else ""),
                    f"{figure['value']:.4g} {figure['unit']}".rstrip(),
                    low,
                    high,
                    figure["target"],
                    figure["note"],
                    f"{letters[found['machine']]}, {found['date']}",
                ]
            )
        return rows


MODULES = {
    "screen": ("ui_cost", "keys"),
    "start": ("start",),
    "growth": ("growth", "runs"),
    "viewers": ("background",),
    "protections": ("protections",),
}
"""The modules that measure each subject."""


def _weight(found: dict[str, Any]) -> tuple[bool, int]:
    return not found["quick"], len(found.get("pairs", []))


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *cells)]
