"""The preview process, which loads data or model before a run: settings in on standard input, JSON lines out.

    python -m tui_trainer.cli.preview data|model

The first line of the input is the settings that somebody has named; each one after it is an `Order`. It ends with its
input: whoever has started it may be gone without a word.
"""

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import BinaryIO, NoReturn

from tui_trainer.errors import TrainerError
from tui_trainer.outlook.preview.facts import Answer, Order
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean

KINDS = ("data", "model")


def orders(stdin: BinaryIO) -> Iterator[Order]:
    """The newest order each time; those that came while another one was carried out are left out."""
    waiting: queue.SimpleQueue[Order] = queue.SimpleQueue()

    def listen() -> None:
        for line in stdin:
            try:
                waiting.put(Order.model_validate_json(line))
            except ValueError as error:
                print(f"no order: {error}", file=sys.stderr)
        os._exit(0)

    threading.Thread(target=listen, name="orders", daemon=True).start()
    return _newest(waiting)


def _newest(waiting: "queue.SimpleQueue[Order]") -> Iterator[Order]:
    while True:
        order = waiting.get()
        while not waiting.empty():
            order = waiting.get()
        yield order


def preview(kind: str, settings: Settings, wanted: Iterator[Order]) -> Iterator[Answer]:
    """What is found, answer by answer; a fault is the last one."""
    try:
        yield Answer(preparing="torch")
        from tui_trainer.training.before import preview as previews  # torch takes seconds

        yield from previews.at_data(settings, wanted) if kind == "data" else previews.at_model(settings)
    except TrainerError as error:
        yield Answer(error=str(error), exit_code=error.exit_code)
    except (Exception, SystemExit) as error:  # code of the user's own may do anything
        traceback.print_exc()
        first = clean(str(error).strip().split("\n")[0], 300)
        yield Answer(error=f"The look at the {kind} failed: {type(error).__name__}: {first}", exit_code=1)


def main() -> NoReturn:
    if sys.argv[1:2] not in [[kind] for kind in KINDS]:
        sys.exit(f"usage: python -m tui_trainer.cli.preview {'|'.join(KINDS)}")
    code = 0
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what libraries and code of the user's own print must not come between
        settings = Settings(**json.loads(sys.stdin.buffer.readline()))
        for answer in preview(sys.argv[1], settings, orders(sys.stdin.buffer)):
            code = answer.exit_code
            try:
                answers.write(answer.line())
                answers.flush()
            except BrokenPipeError:
                break
    os._exit(code)  # threads and processes of data sets may not want to end


if __name__ == "__main__":
    main()
