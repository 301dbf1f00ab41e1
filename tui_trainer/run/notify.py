"""Which events are worth a notification, and the HTTP POST that sends it.

A notification never delays a training and never ends one: it is sent from a thread of its own, and when it does not
arrive the run says so once.
"""

import base64
import math
import queue
import threading
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from tui_trainer.run import scores
from tui_trainer.run.events import Evaluated, Event, LearningRateChanged, RunEnded, RunPaused
from tui_trainer.run.state import RunState
from tui_trainer.text import clean, clock, number, without_secrets


def notification_text(event: Event, state: RunState) -> str | None:
    """The text of the notification for `event`; None when it is worth none. `state` is the fold up to it.

    There is none for what a person has just asked for: a pause, a stop, Ctrl-C, another learning rate.
    """
    match event:
        case RunEnded():
            return _ending(event, state)
        case RunPaused(why=why, text=text) if why and why != "parked":
            return clean(f"paused and asks what to do: {text}", 300)
        case LearningRateChanged(by="plateau", lr=lr):
            return f"no improvement for a while, the learning rate is now {number(lr)}{_so_far(state)}"
        case LearningRateChanged(by="rollback", lr=lr) if state.settings.get("on_nonfinite") == "rollback":
            return f"the loss was not finite: back at the last checkpoint, the learning rate is now {number(lr)}"
        case Evaluated(split="valid", loss=loss) if not math.isfinite(loss):
            before = state.epochs[-1].valid_loss if state.epochs else None
            if before is None or math.isfinite(before):
                return f"the validation loss is not finite{_so_far(state)}"
    return None


def _ending(ended: RunEnded, state: RunState) -> str | None:
    said = {
        "finished": "finished",
        "out_of_patience": "ended early, no improvement within the patience,",
        "interrupted": "interrupted by a signal",
        "diverged": "stopped, the loss is not finite,",
        "failed": "failed",
    }.get(ended.reason)
    if said is None or ended.exit_code == 130:  # a stop that was asked for, Ctrl-C
        return None
    said += f" after {clock(ended.seconds)}"
    if ended.reason == "failed" and ended.error:
        said += ": " + clean(ended.error.partition("\n")[0], 200)
    if ended.best_epoch is not None:
        best = ended.best_loss if state.main.name == "loss" else scores.best(ended).get(state.main.name)
        said += f", best {scores.headline(best, state.main)} in epoch {ended.best_epoch}"
    return said


def _so_far(state: RunState) -> str:
    return f", best {state.headline(state.best)} in epoch {state.best.epoch}" if state.best else ""


def lost_text(state: RunState) -> str:
    """The notification when the process that trains is gone without a `RunEnded`."""
    return f"the process that trained is gone, in epoch {state.epoch}{_so_far(state)}"


class Notifier:
    """Sends sentences to a web address, one after the other: an HTTP POST of plain text, its `Title` the run's name."""

    TIMEOUT = 10.0
    """Seconds that a server has to answer, and that the end of a run waits for its last message."""
    MOST = 20
    """Messages that wait at most; of a server that does not answer no more is wanted."""

    def __init__(self, url: str, title: str) -> None:
        self._url, self._title = url, title
        self._texts: queue.Queue[str | None] = queue.Queue(self.MOST)
        self._thread: threading.Thread | None = None
        self._trouble = ""
        self._told = False

    def send(self, text: str) -> None:
        """Send `text` when its turn comes; does not wait."""
        if self._thread is None:
            # A daemon: a server that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
            self._thread.start()
        if not self._texts.full():
            self._texts.put_nowait(text)

    def trouble(self) -> str:
        """Once, when a message did not arrive: a sentence that says why. Empty otherwise."""
        if not self._trouble or self._told:
            return ""
        self._told = True
        return self._trouble

    def close(self) -> str:
        """Let what waits be sent, for a few seconds at most; `trouble`."""
        if self._thread is not None:
            if self._texts.full():
                return self.trouble()
            self._texts.put_nowait(None)
            self._thread.join(self.TIMEOUT)
            if self._thread.is_alive() and not self._trouble:
                self._fail("no answer")
        return self.trouble()

    def _work(self) -> None:
        while (text := self._texts.get()) is not None:
            try:
                post(self._url, self._title, text, self.TIMEOUT)
            except Exception as error:  # whatever it is, the training is worth more
                self._fail(reason(error))

    def _fail(self, why: str) -> None:
        if not self._trouble:
            self._trouble = f"a notification did not reach {without_secrets(self._url)}: {why}"


def post(url: str, title: str, text: str, timeout: float) -> None:
    """POST `text` to `url`. A name and a password in the address are sent as basic authentication.

    A redirect is not followed: the sentence, and perhaps a password, would go where nobody has sent it.

    Raises:
        OSError: it cannot be reached, or the answer is not one of success.
    """
    import urllib.request  # with ssl a tenth of a second: only for a run that has something to say

    class NoRedirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    parts = urlsplit(url)
    headers = {"Content-Type": "text/plain; charset=utf-8", "Title": _header(title), "User-Agent": "tui-trainer"}
    who, at, host = parts.netloc.rpartition("@")
    if at:
        name, _, password = who.partition(":")
        headers["Authorization"] = "Basic " + base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()
    address = urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))
    request = urllib.request.Request(address, text.encode(), headers, method="POST")
    with urllib.request.build_opener(NoRedirects).open(request, timeout=timeout):
        pass


def _header(text: str) -> str:
    """`text` on one line as a header may hold it: beyond ASCII, as an RFC 2047 word."""
    text = clean(text, 100)
    return text if text.isascii() else f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="


def reason(error: Exception) -> str:
    """Why a message did not arrive, without the address."""
    from urllib.error import HTTPError, URLError

    if isinstance(error, HTTPError):
        with error:
            moved = ", a redirect, which is not followed" if 300 <= error.code < 400 else ""
            return f"the answer was {error.code} {clean(error.reason, 60)}{moved}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer"
    return clean(getattr(cause, "strerror", None) or type(cause).__name__, 100)
