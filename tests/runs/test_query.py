"""The words that pick runs: all must hold, and one that means nothing says what may have been meant."""

import time
from pathlib import Path
from typing import Any

import pytest

from tui_trainer.errors import UsageError
from tui_trainer.runs.listing import Summary
from tui_trainer.runs.query import FACTS, SORTS, ordered, parse, understood
from tui_trainer.settings.schema import FIELDS, Settings


def run(name: str, **more: Any) -> Summary:
    """A run of the default settings."""
    settings = Settings().model_dump() | more.pop("settings", {})
    known: dict[str, Any] = {
        "state": "finished",
        "model": settings["model"],
        "dataset": settings["dataset"],
        "lr": settings["lr"] if isinstance(settings["lr"], float) else None,
        "started": time.time() - 3600,
    }
    return Summary(path=Path("runs") / name, name=name, settings=settings, **known | more)


RUNS = (
    run("first", best_accuracy=0.85, best_loss=0.4, started=time.time() - 5 * 86400, seconds=50),
    run("second-cnn", settings={"model": "cnn", "lr": 0.01, "compile": True}, best_accuracy=0.92, best_loss=0.2),
    run("third", state="training", settings={"dataset": "fashion-mnist-mini", "lr": 1e-4, "epochs": 10}, epoch=3),
    run("fourth", state="paused", settings={"optimizer": "adamw", "max_time": 7200.0}, step=1500, test_accuracy=0.5),
    run("fifth", state="unreadable", settings={"lr": "broken", "model": None}),
)


def picked(words: str | list[str]) -> str:
    """The first letters of the runs that are meant."""
    return " ".join(r.name.split("-")[0] for r in RUNS if parse(words)(r))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", "first second third fourth fifth"),
        ("   ", "first second third fourth fifth"),
        ("state:live", "third fourth"),
        ("state:over", "first second fifth"),
        ("state:finished", "first second"),
        ("state=paused", "fourth"),
        ("state!=finished", "third fourth fifth"),
        ("-state:live", "first second fifth"),
        ("!state:live", "first second fifth"),
        ("model:cnn", "second"),
        ("model:CN", "second"),
        ("-model:cnn", "first third fourth fifth"),
        ("model=cn", ""),
        ("model=cnn", "second"),
        ("data:mini", "third"),
        ("dataset:mini", "third"),
        ("dataset=fashion-mnist", "first second fourth fifth"),
        ("name:ir", "first third"),
        ("ir", "first third"),
        ("IR", "first third"),
        ("-ir", "second fourth fifth"),
        ("lr<0.001", "third"),
        ("lr>=1e-3", "first second fourth"),
        ("lr=0.01", "second"),
        ("lr:0.01", "second"),
        ("lr!=0.01", "first third fourth"),
        ("epochs=10", "third"),
        ("epochs<10", "first second fourth fifth"),
        ("accuracy>0.9", "second"),
        ("accuracy>90%", "second"),
        ("accuracy>=85%", "first second"),
        ("accuracy<1", "first second"),
        ("-accuracy>0.9", "first third fourth fifth"),
        ("loss<0.3", "second"),
        ("test>=50%", "fourth"),
        ("age<2d", "second third fourth fifth"),
        ("age>2d", "first"),
        ("age<120m", "second third fourth fifth"),
        ("age<7200", "second third fourth fifth"),
        ("age<1w", "first second third fourth fifth"),
        ("time>49s", "first"),
        ("max_time=2h", "fourth"),
        ("max-time=2h", "fourth"),
        ("epoch>2", "third"),
        ("step>=1,500", "fourth"),
        ("optimizer:adam", "first second third fourth fifth"),
        ("optimizer=adam", "first second third fifth"),
        ("compile:on", "second"),
        ("compile=false", "first third fourth fifth"),
        ("compile!=on", "first third fourth fifth"),
        ("state:finished lr<0.005", "first"),
        ("state:finished  -model:cnn age>2d", "first"),
        ("'ir'", "first third"),
        ("name:'ir", ""),
        (["ir", "state:live"], "third"),
    ],
)
def test_all_words_must_hold(words: str | list[str], names: str) -> None:
    assert picked(words) == names


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("modl:cnn", "modl:cnn: runs have no modl. Did you mean model?"),
        ("acuracy>0.9", "acuracy>0.9: runs have no acuracy. Did you mean accuracy?"),
        ("state:finishd", "state:finishd: must be one of live, over, "),
        ("state:finishd", " Did you mean finished?"),
        ("state<live", "a state is neither less nor more; type state:live."),
        ("lr<fast", "lr<fast: must be compared with a number."),
        ("lr<nan", "must be compared with a number."),
        ("lr<2d", "must be compared with a number."),
        ("age<soon", "age<soon: must be compared with a time such as 90s, 15m, 2h or 3d."),
        ("age<50%", "a time such as"),
        ("model<cnn", "model is a word, neither less nor more; type model:cnn."),
        ("compile:maybe", "is on or off; type compile:on or compile:off."),
        ("compile>on", "is on or off"),
        ("lr<", "lr<: what to compare with is missing, as in lr<10."),
        ("model:", "as in model:word."),
        ("accuracy>", "as in accuracy>90%."),
        ("-", "'-' means nothing. Words are like state:live"),
        ("x\x1b[31m:1", ""),
    ],
)
def test_a_word_that_means_nothing_says_what_would(words: str, sentence: str) -> None:
    if not sentence:
        assert picked(words) == ""  # part of a name
        return
    with pytest.raises(UsageError) as refused:
        parse(words)
    assert sentence in str(refused.value) and "\x1b" not in str(refused.value)


def test_while_somebody_types_the_words_that_mean_something_count() -> None:
    test, problem = understood("ir state: lr<x modl:1")
    assert problem.startswith("state:: what to compare with is missing")
    assert [r.name for r in RUNS if test(r)] == ["first", "third"]
    assert understood("state:live")[1] == ""


@pytest.mark.parametrize("name", [*FACTS, *FIELDS])
def test_everything_about_a_run_can_be_asked_for(name: str) -> None:
    """Runs whose settings are missing or broken are passed over, whatever is asked."""
    broken = Summary(path=Path("runs/x"), name="x", state="lost", settings={name: [1, {"a": None}]})
    for word in (f"{name}<3", f"{name}:on", f"{name}:lost", f"{name}!=2"):
        try:
            test = parse(word)
        except UsageError:
            continue
        for one in (*RUNS, broken):
            assert test(one) in (True, False)


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("accuracy", "second first"),
        ("loss", "second first"),
        ("lr", "third first"),
        ("name", "fifth first fourth second third"),
        ("state", "third fourth"),
    ],
)
def test_runs_come_in_an_order_and_those_that_lack_it_last(sort: str, names: str) -> None:
    found = [r.name.split("-")[0] for r in ordered(RUNS, sort)]
    assert " ".join(found).startswith(names.split()[0])
    assert [name for name in found if name in names.split()] == names.split()
    assert len(found) == len(RUNS)


def test_the_newest_comes_first_and_an_unknown_order_says_which_there_are() -> None:
    assert ordered(RUNS)[-1].name == "first"
    with pytest.raises(UsageError, match=r"one of age, score, .*Did you mean accuracy\?"):
        ordered(RUNS, "acuracy")
    assert set(SORTS) == {"age", "score", "loss", "name", "state", "lr"}
