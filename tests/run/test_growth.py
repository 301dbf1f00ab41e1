"""However long a run is, what a viewer keeps of it is small, and what it keeps is right."""

import dataclasses
import gc
import math
import random
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.run.examples import ended, epoch_ended, evaluated, folded, saved, started, trained
from tui_trainer.run.events import BatchTrained, EpochEnded, Evaluated, Event, Warned
from tui_trainer.run.events_json import from_json, rounded, to_json
from tui_trainer.run.feed import Feed
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.journal import Journal
from tui_trainer.run.recorded import RecordedRun
from tui_trainer.run.series import Series
from tui_trainer.run.state import MOST_CHECKPOINTS, MOST_EPOCHS, MOST_NOTES, NEWEST_EPOCHS, RunState
from tui_trainer.settings.schema import Settings

EPOCHS = 30_000
BEST = 1_234


def long_run(epochs: int = EPOCHS) -> Iterator[Event]:
    """Two reports, a validation, checkpoints and a warning an epoch; the best one is early and no round number."""
    yield started(epochs=epochs)
    for epoch in range(1, epochs + 1):
        yield trained(10 * epoch - 1, 2.0)
        yield trained(10 * epoch, 1.0)
        yield evaluated(10 * epoch, abs(epoch - BEST) / epochs)
        if epoch <= BEST:
            yield saved(10 * epoch, "best")
        yield saved(10 * epoch, "epoch", name=f"epoch-{epoch}")
        yield Warned(text=str(epoch))
        yield epoch_ended(epoch, 1 / epoch)


@pytest.fixture(scope="module")
def state() -> RunState:
    return folded(*long_run())


def sizes(value: object) -> list[int]:
    """How long every container in a state is, and those in them."""
    if isinstance(value, (str, int, float, type(None))):
        return []
    if dataclasses.is_dataclass(value):
        return [n for f in dataclasses.fields(value) for n in sizes(getattr(value, f.name))]
    items = list(value.values()) if isinstance(value, dict) else list(value)  # type: ignore[call-overload]
    return [len(items)] + [n for item in items for n in sizes(item)]


def test_nothing_in_a_state_grows_with_the_run(state: RunState) -> None:
    assert len(state.epochs) <= MOST_EPOCHS
    assert len(state.checkpoints) <= MOST_CHECKPOINTS and len(state.log) <= MOST_NOTES
    for name in ("train_curve", "valid_curve", "score_curve", "epoch_curve"):
        series: Series = getattr(state, name)
        assert len(series.xs) == len(series.ys) == len(series.weights) <= series.limit == 1024
    assert max(sizes(state)) <= MOST_EPOCHS, "whatever else a state may hold"
    measured = [getattr(state, f.name) for f in dataclasses.fields(state)]
    assert sum(isinstance(value, Evaluated) for value in measured) <= 4, "confusion tables are large"


def test_what_is_kept_of_a_long_run_is_right(state: RunState) -> None:
    assert (state.epoch, state.step, state.total_epochs) == (EPOCHS, 10 * EPOCHS, EPOCHS)
    assert state.best is not None and (state.best.epoch, state.best.loss) == (BEST, 0)
    assert state.validation is not None and state.validation.epoch == EPOCHS
    assert state.log[-1] == dataclasses.replace(state.log[-1], text=str(EPOCHS), level="warning")
    means = (state.train_curve, 1.9), (state.valid_curve, sum(abs(n - BEST) for n in range(1, EPOCHS + 1)) / EPOCHS**2)
    for curve, mean in means:
        weights = curve.weights  # of the training loss: a report of 1 batch and one of 9, in each epoch
        assert sum(w * y for w, y in zip(weights, curve.ys, strict=True)) / sum(weights) == pytest.approx(mean)


def test_the_newest_epochs_all_have_a_row_and_the_older_ones_span_the_run(state: RunState) -> None:
    epochs = [row.epoch for row in state.epochs]
    assert epochs == sorted(set(epochs))
    assert epochs[-NEWEST_EPOCHS:] == list(range(EPOCHS - NEWEST_EPOCHS + 1, EPOCHS + 1))
    older = [epoch for epoch in epochs if epoch <= state.thinned_until]
    assert [e for e in older if e not in (1, BEST)] == list(range(100, state.thinned_until + 1, state.epoch_stride))
    assert older[0] == 1 and BEST in older and state.epoch_stride == 100
    assert epochs[len(older) :] == list(range(state.thinned_until + 1, EPOCHS + 1)), "nothing after it is left out"
    assert all(row.train_loss == 1 / row.epoch for row in state.epochs), "rows are kept, not averaged"


def test_a_run_of_as_many_epochs_as_are_kept_keeps_them_all() -> None:
    state = folded(started(), *(epoch_ended(n) for n in range(1, MOST_EPOCHS + 1)))
    assert [row.epoch for row in state.epochs] == list(range(1, MOST_EPOCHS + 1))
    assert (state.epoch_stride, state.thinned_until) == (1, 0)
    state.apply(epoch_ended(MOST_EPOCHS + 1))
    assert len(state.epochs) < MOST_EPOCHS and state.thinned_until == MOST_EPOCHS + 1 - NEWEST_EPOCHS


def test_epochs_trained_again_are_no_longer_thinned() -> None:
    state = folded(*(epoch_ended(n) for n in range(1, MOST_EPOCHS + 2)), started(), epoch_ended(500, 0.5))
    assert (state.epochs[-1].epoch, state.epochs[-1].train_loss, state.thinned_until) == (500, 0.5, 499)
    assert state.epochs[-2].epoch == 490


def test_the_best_and_the_last_checkpoint_stay_in_a_list_that_is_full() -> None:
    state = folded(
        *(started(), evaluated(10), saved(10, "best"), saved(10)),
        *(saved(10 * n, "epoch", name=f"epoch-{n}") for n in range(1, 3 * MOST_CHECKPOINTS)),
    )
    assert len(state.checkpoints) == MOST_CHECKPOINTS
    assert list(state.checkpoints)[:2] == ["checkpoints/best.pt", "checkpoints/last.pt"]
    assert f"checkpoints/epoch-{3 * MOST_CHECKPOINTS - 1}.pt" in state.checkpoints


# --- on disk -------------------------------------------------------------------------------------------------------


def test_an_event_keeps_its_losses_as_float32_has_them_and_its_clocks_to_the_millisecond() -> None:
    event = dataclasses.replace(trained(1, 1 / 3, lr=1e-3 / 3, speed=1e6 / 7), at=1763820131.23456, elapsed=100 / 3)
    event = dataclasses.replace(event, grad_norm=2 / 3, data_wait=1 / 7)
    short = rounded(event)
    assert short.loss == 0.333333333
    assert (short.at, short.elapsed, short.data_wait) == (1763820131.235, 33.333, 0.143)
    assert (short.lr, short.grad_norm, short.examples_per_second) == (0.0003333333, 0.66667, 142860.0)
    measured = rounded(evaluated(1, 1 / 3, accuracy=2 / 3, seconds=1 / 3))
    assert (measured.loss, measured.accuracy, measured.seconds) == (0.333333333, 0.666666667, 0.3333)
    assert rounded(epoch_ended(1, 1 / 3)).train_loss == 0.333333333
    assert rounded(short) == short == from_json(to_json(short))
    labels = rounded(dataclasses.replace(evaluated(1), scores={"f1": 1 / 3}, labels=((2 / 3, 1.0, 1 / 7, 3),)))
    assert labels.scores == {"f1": 0.333333333} and labels.labels == ((0.666666667, 1.0, 0.142857143, 3),)


def test_a_loss_is_the_same_float32_when_it_is_read_back() -> None:
    losses = filter(math.isfinite, struct.unpack("1000f", random.Random(1).randbytes(4000)))
    for loss in losses:
        read = from_json(to_json(rounded(trained(1, loss))))
        assert isinstance(read, BatchTrained) and struct.pack("f", read.loss) == struct.pack("f", loss)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_what_has_no_digits_is_not_rounded(value: float | None) -> None:
    assert repr(rounded(trained(1, grad_norm=value)).grad_norm) == repr(value)


def test_a_report_of_a_long_run_is_a_short_line() -> None:
    event = dataclasses.replace(trained(7_290_000, 1.0618642171223958, lr=0.0019988294584982816), at=1795433092.8277514)
    event = dataclasses.replace(event, epoch=1440, batch=18_000, batches=20_000, grad_norm=1.7001863718032837)
    event = dataclasses.replace(event, examples_per_second=939.28213915, data_wait=0.04443090, elapsed=85005.641962421)
    assert len(to_json(rounded(event))) < 240


# --- reading a long one --------------------------------------------------------------------------------------------


@pytest.fixture
def recorded() -> RunFolder:
    """A run of more bunches than one."""
    folder = RunFolder.create(Settings())
    journal = Journal(folder.journal)
    for event in long_run(2_000):
        journal.append(event)
    journal.append(ended())
    journal.close()
    return folder


def test_a_long_run_is_given_in_bunches_and_they_are_all_of_it(recorded: RunFolder) -> None:
    run = RecordedRun(recorded)
    bunches = list(run.bunches())
    assert len(bunches) > 2 and {len(bunch) for bunch in bunches[:-1]} == {RecordedRun.BUNCH}
    assert [event for bunch in bunches for event in bunch] == list(run.events()) == run.so_far()
    assert folded(*run.events()).epochs == folded(*long_run(2_000), ended()).epochs


@pytest.mark.parametrize("collects", [True, False])
def test_the_garbage_collector_is_left_as_it_was(recorded: RunFolder, collects: bool) -> None:
    try:
        (gc.enable if collects else gc.disable)()
        for _ in RecordedRun(recorded).bunches():
            assert gc.isenabled() is collects
    finally:
        gc.enable()


def test_a_reader_waits_until_a_bunch_is_taken(recorded: RunFolder) -> None:
    """So that neither memory nor the time until a key is answered grow with the run."""
    ready, goes_on = threading.Semaphore(0), threading.Event()

    class Watched(RecordedRun):
        def bunches(self) -> Iterator[list[Event]]:
            for bunch in super().bunches():
                yield bunch
                goes_on.set()

    feed = Feed(Watched(recorded), ready.release)
    feed.start()
    taken: list[Event] = []
    while not (taken and feed.ended and taken[-1] == feed.ended):
        assert ready.acquire(timeout=120)
        assert not goes_on.wait(0.05)
        bunch = feed.take()
        assert 0 < len(bunch) <= RecordedRun.BUNCH
        taken += bunch
        assert goes_on.wait(120)
        goes_on.clear()
    feed.thread.join(120)
    assert not feed.thread.is_alive() and taken == RecordedRun(recorded).so_far()
    assert feed.given == len(taken) and feed.take() == []


def test_a_reader_whose_screen_is_gone_does_not_wait_for_it(recorded: RunFolder) -> None:
    ready = threading.Event()
    feed = Feed(RecordedRun(recorded), ready.set)
    feed.start()
    assert ready.wait(120)
    feed.leave()
    feed.thread.join(120)
    assert not feed.thread.is_alive() and feed.take() == []


def test_a_journal_with_blanks_as_older_programs_wrote_it_is_read_the_same() -> None:
    old = '{"event": "EpochEnded", "at": 1.5, "epoch": 3, "train_loss": 0.5, "seconds": 2.123456789}'
    assert from_json(f"  {old} \r\n") == EpochEnded(at=1.5, epoch=3, train_loss=0.5, seconds=2.123456789)
    with pytest.raises(ValueError):
        from_json(old + old)
