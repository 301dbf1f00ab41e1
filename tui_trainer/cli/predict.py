"""`tui-trainer predict`: what a trained model says, as a table in a terminal, as lines in a pipe, or as JSON."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from tui_trainer.cli.console import PipeConsole, json_line, on_stdout, print_line
from tui_trainer.cli.gather import output_dir_of, trust_code_of_run
from tui_trainer.cli.options import RUN, OutputDir, TrustPlugin, option
from tui_trainer.errors import DataError, UsageError
from tui_trainer.text import clean, number, percent

if TYPE_CHECKING:
    from tui_trainer.run.folder import RunFolder
    from tui_trainer.training.after.predict import Prediction
    from tui_trainer.training.after.trained import Trained

SPLITS = ("valid", "test")
BAR = 20
"""Columns of a bar that stands for certainty."""
LONGEST_CLASS = 40
"""Columns that the name of a class takes at most."""


def predict_command(
    run: Annotated[str, Parameter(help=RUN)],
    /,
    *images: Annotated[str, Parameter(help="Image files, and folders that are gone through.")],
    split: Annotated[str | None, option("valid or test: the run's own examples in place of files.")] = None,
    top: Annotated[int, option("How many classes are shown [default: 3].")] = 3,
    checkpoint: Annotated[
        str | None, option("Whose weights: best, last, prev or epoch-N [default: best, else last].")
    ] = None,
    device: Annotated[
        str | None, option("Where to compute [default: as the run, or the CPU where that is not here].")
    ] = None,
    trust_plugin: TrustPlugin = None,
    output_dir: OutputDir = None,
    json: Annotated[bool, option("One JSON object a line on stdout.")] = False,
) -> int:
    """What a trained model says of image files, or how right it is on the run's own examples."""
    from tui_trainer.run import folder

    found = folder.find(run, output_dir_of(output_dir))
    trust_code_of_run(found, trust_plugin)
    return predict(found, images, split=split, top=top, checkpoint=checkpoint, device=device, as_json=json)


def predict(
    folder: "RunFolder",
    images: tuple[str, ...],
    *,
    split: str | None,
    top: int,
    checkpoint: str | None,
    device: str | None,
    as_json: bool,
) -> int:
    """Predict and print; the exit code: 3 when an image could not be read.

    Raises:
        UsageError: neither images nor a split, or both.
        TrainerError: the run, its data or its model cannot be used; the message says why.
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"--split: must be valid or test; found {clean(repr(split), 60)}")
    if bool(images) == bool(split):
        raise UsageError(
            "Give images and folders of images, or else --split valid or --split test: "
            f"tui-trainer predict {clean(folder.path.name)} IMAGE..."
        )
    if top < 1:
        raise UsageError(f"--top: must be at least 1, found {top}")
    from tui_trainer.training.after.trained import load_trained  # torch takes seconds

    trained = load_trained(folder, checkpoint, device)
    wanted = trained.settings.device.split(":")[0]
    if device is None and wanted not in ("auto", trained.device.type):
        _note(f"{clean(wanted)}, where the run has computed, is not here: computing on the CPU")
    return _split(trained, split, top, as_json) if split else _files(trained, images, top, as_json)


def _files(trained: "Trained", images: Sequence[str], top: int, as_json: bool) -> int:
    """A block of lines an image in a terminal, a line an image in a pipe."""
    from tui_trainer.training.after.predict import Notes, Unreadable, predict_files

    notes, broken, good, out = Notes(), 0, 0, on_stdout()
    for found in predict_files(trained, images, top, notes):
        if isinstance(found, Unreadable):
            broken += 1
            _note(found.why)
            if as_json:
                print(json_line({"file": found.of, "error": found.why}))
        elif as_json:
            print(json_line({"file": found.of, **_plain(trained, found)}))
        else:
            if out.is_terminal and not good and found.top:
                _head(out, trained, top)
            _show(out, trained, found)
        good += not isinstance(found, Unreadable)
    for change, count in notes.counts.items():
        what = "1 image was" if count == 1 else f"{count:,} images were"
        _note(f"{what} {change} ({'' if count == 1 else 'first: '}{clean(notes.first[change], 300)})")
    if broken:
        _note(f"{broken:,} of {broken + good:,} could not be read")
    return DataError.exit_code if broken else 0


def _head(out: PipeConsole, trained: "Trained", top: int) -> None:
    file, wide = _widths(out, trained)
    columns = (
        f"{'class':<{wide}}  probability"
        if top == 1
        else f"{f'{min(top, len(trained.classes))} most probable':<{wide}}"
    )
    print_line(out, Text(f"{'file':<{file}}  {columns}".rstrip(), "dim"))


def _widths(out: PipeConsole, trained: "Trained") -> tuple[int, int]:
    """Columns of a file's name and of a class's name in a terminal."""
    wide = min(max(13, *(len(clean(name)) for name in trained.classes)), LONGEST_CLASS, max(13, out.width // 3))
    return max(10, min(60, out.width - wide - len("  100.0 %    ") - BAR)), wide


def _show(out: PipeConsole, trained: "Trained", found: "Prediction") -> None:
    """The prediction for a file: in a pipe its fields between tabs, which no name here can hold."""
    names = [(clean(trained.classes[index]), percent(probability), probability) for index, probability in found.top]
    names = names or [(clean(n), number(v), 0.0) for n, v in zip(trained.classes, found.numbers, strict=True)]
    if not out.is_terminal:
        file = clean(found.of, 4096)
        print("\t".join([file, *(part for name, value, _ in names for part in (name, value))]))
        return
    width, wide = _widths(out, trained)
    shown = clean(found.of, 4096)
    shown = shown if len(shown) <= width else f"…{shown[1 - width :]}"
    for i, (name, value, probability) in enumerate(names):
        text = Text(f"{shown if not i else '':<{width}}  ")
        name = name if len(name) <= wide else f"{name[: wide - 1]}…"
        text.append(f"{name:<{wide}}  {value:>7}  ", "bold" if not i or found.numbers else "dim")
        text.append(_bar(probability), "cyan" if not i else "dim")
        text.rstrip()
        print_line(out, text)


def _bar(fraction: float) -> str:
    """A bar of at most `BAR` columns, in eighths of one."""
    eighths = round(8 * BAR * max(0.0, min(1.0, fraction)))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _split(trained: "Trained", split: str, top: int, as_json: bool) -> int:
    """How often the model is right on a split of its own run, class by class."""
    from tui_trainer.training.after.predict import predict_split

    steps, examples = predict_split(trained, split, top), 0
    while True:
        try:
            found = next(steps)
        except StopIteration as done:
            figures: dict[str, Any] = done.value
            break
        if isinstance(found, str):
            _note(found)
            continue
        examples += 1
        if as_json:
            print(json_line({"split": split, "example": found.of, **_true(trained, found), **_plain(trained, found)}))
    scores = figures.pop("scores", {})
    confusion = figures.get("confusion", ())
    if as_json:
        right = {"right": sum(row[i] for i, row in enumerate(confusion))} if confusion else {}
        print(
            json_line({"split": split, "examples": examples, **right, **figures, **scores, "classes": trained.classes})
        )
        return 0
    if confusion:
        _table(trained, split, confusion)
    out = on_stdout()
    if rows := figures.get("labels"):
        _labels(out, trained, rows)
    for name, _, unit in trained.task.scores:
        value = scores.get(name, figures.get(name))
        if value is not None and not (confusion and name == "accuracy"):
            shown = percent(value) if unit == "percent" else number(value)
            print_line(out, Text(f"{name.replace('_', ' ')}  {shown}"))
    return 0


def _true(trained: "Trained", found: "Prediction") -> dict[str, Any]:
    """What would have been right, as plain values."""
    if trained.task.kind == "class":
        label = int(found.true[0])
        return {"label": label, "label_name": trained.classes[label]}
    return {"true": dict(zip(trained.classes, found.true, strict=True))}


def _labels(out: PipeConsole, trained: "Trained", rows: Sequence[tuple[float, float, float, int]]) -> None:
    """A line a label: how many examples have it, and how well it is found."""
    names = [clean(name, LONGEST_CLASS) for name in trained.classes]
    wide = max(5, *map(len, names))
    print_line(out, Text(f"{'label':<{wide}}  {'examples':>8}  {'precision':>9}  {'recall':>8}  {'F1':>8}", "dim"))
    for name, (precision, recall, f1, examples) in zip(names, rows, strict=True):
        figures = f"{percent(precision):>9}  {percent(recall):>8}  {percent(f1):>8}"
        print_line(out, Text(f"{name:<{wide}}  {examples:>8,}  {figures}"))


def _table(trained: "Trained", split: str, confusion: Sequence[Sequence[int]]) -> None:
    """A line a class: its examples, how many are right, and what it is taken for most often when not."""
    out = on_stdout()
    names = [clean(name, LONGEST_CLASS) for name in trained.classes]
    wide = max(5, *map(len, names), len(f"all of {split}"))

    def line(name: str, row: int, right: int, other: str, style: str = "") -> None:
        accuracy = percent(right / row) if row else "-"
        print_line(out, Text(f"{name:<{wide}}  {row:>8,}  {right:>8,}  {accuracy:>8}  {other}".rstrip(), style))

    print_line(out, Text(f"{'class':<{wide}}  {'examples':>8}  {'right':>8}  {'accuracy':>8}  taken for", "dim"))
    for i, row in enumerate(confusion):
        wrong = [0 if j == i else count for j, count in enumerate(row)]
        most = max(range(len(row)), key=wrong.__getitem__)
        line(names[i], sum(row), row[i], f"{names[most]} ({wrong[most]:,})" if wrong[most] else "")
    total, right = sum(map(sum, confusion)), sum(row[i] for i, row in enumerate(confusion))
    line(f"all of {split}", total, right, "", "bold")


def _plain(trained: "Trained", found: "Prediction") -> dict[str, Any]:
    """A prediction as plain values: the most probable class and all that were asked for, or the numbers."""
    if found.numbers:
        return {"predicted": dict(zip(trained.classes, found.numbers, strict=True))}
    top = [
        {"index": index, "class": trained.classes[index], "probability": round(value, 6)} for index, value in found.top
    ]
    return {**top[0], "top": top}


def _note(text: str) -> None:
    sys.stdout.flush()  # so that lines stand in their order where both go to one place
    print(text, file=sys.stderr, flush=True)
