"""Thousands of broken settings: every answer is a sentence and exit code 2, and nothing is left behind."""

import contextlib
import io
import os
import tomllib
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from pydantic import BeforeValidator

from tests.cli.program import hidden
from tests.faults.scale import many
from tui_trainer.cli import headless, main, screens
from tui_trainer.errors import SettingsError, UsageError
from tui_trainer.settings.schema import FIELDS, Settings, flag
from tui_trainer.settings.sources import check, preset, read_toml, resolve
from tui_trainer.settings.writing import as_text, to_toml

FUZZ = hypothesis.settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)

EDGES = (
    "", " ", "0", "-1", "1", "5", "5.5", "1e-3", "1e20", "1e999", "-0.0", "nan", "inf", "-inf", "0x10", "1_000", "٣",
    "true", "false", "on", "off", "none", "null", "None", "-", "--", "=", "--=", "-x", "sgd", "adma", "cpu:3", "cuda:1",
    "15m", "1:30", "9" * 5000, "x" * 5000, "[red]", "[/nope]", "\x1b[31m", "\x1b]0;x\x07", "\x9b", "\u202e", "\u2028",
    "\n", "\r", "\t", "'", '"', "\\", "%s", "{}", "{0}", "${HOME}", "~", "~nobody/x", "/", "..", "😀", "\ufeff",
)  # fmt: skip
OWN = (
    "--no-ui",
    "--json",
    "--start",
    "--preset",
    "--config",
    "--print-config",
    "--help",
    "--version",
    "attach",
    "last",
)

typed = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
not_text = st.binary(min_size=1, max_size=6).filter(lambda b: b"\0" not in b).map(os.fsdecode)
"""Bytes that are no UTF-8, as Python hands them over in `sys.argv`."""
junk = st.sampled_from(EDGES) | typed | not_text
names = st.sampled_from(list(FIELDS))
slips = st.builds(
    lambda name, i, by: name[: i % len(name)] + by + name[i % len(name) + 1 :], names, st.integers(0, 30), typed
)
options = (names | slips).map(flag)
words = st.lists(
    st.one_of(
        options,
        st.builds("{}={}".format, options, junk),
        st.sampled_from(OWN),
        st.builds("{}={}".format, st.sampled_from(OWN), junk),
        junk,
    ),
    max_size=8,
)


@pytest.fixture
def harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Valid settings must neither train nor open a screen here."""

    def refuse(*_: object, **__: object) -> int:
        raise UsageError("there is nothing to see here")

    monkeypatch.setattr(headless, "watch", refuse)
    monkeypatch.setattr(screens, "need_terminal", refuse)


@pytest.mark.usefixtures("harmless")
@hypothesis.given(words)
@hypothesis.settings(FUZZ, max_examples=many(250, 10_000))
def test_any_words_end_with_0_or_with_2_and_a_sentence(own_folder: Path, words: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main.main(["--print-config", *words])
    said = err.getvalue()
    assert hidden(said) == set()
    assert "Traceback" not in said
    assert (end.value.code, bool(said), bool(out.getvalue())) in ((0, False, True), (2, True, False))
    assert all(0 < len(line) <= 600 for line in said.splitlines())
    assert not list(own_folder.iterdir())


values = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from(EDGES),
        st.text(max_size=12),
        st.dates(),
        st.times(),
        st.datetimes(),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
VALID_FILES = [to_toml(Settings()).encode(), to_toml(resolve([preset("quick")]).settings).encode()]


@st.composite
def broken_files(draw: st.DrawFn) -> bytes:
    """A good file with some of its bytes replaced, left out or put in, or cut off."""
    data = bytearray(draw(st.sampled_from(VALID_FILES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"=", b"\n", b"[["])
        )
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


@st.composite
def strange_files(draw: st.DrawFn) -> bytes:
    """Lines of known and unknown names with any words for their values."""
    lines = draw(
        st.lists(st.tuples(names | slips, junk | st.sampled_from(["[", "{", '"""', "''", "1979-05-27"])), max_size=6)
    )
    return "\n".join(f"{name} = {value}" for name, value in lines).encode("utf-8", "surrogateescape")


@hypothesis.given(broken_files() | strange_files() | st.binary(max_size=40))
@hypothesis.settings(FUZZ, max_examples=many(800, 10_000))
def test_any_file_is_settings_or_a_sentence(own_folder: Path, data: bytes) -> None:
    path = own_folder / "my.toml"
    path.write_bytes(data)
    try:
        resolve([read_toml(path)])
    except SettingsError as error:
        assert error.problems
        assert all(problem and not hidden(problem, allowed="") for problem in error.problems)
    assert list(own_folder.iterdir()) == [path]


@hypothesis.given(names, values)
@hypothesis.settings(FUZZ, max_examples=many(1000, 10_000))
def test_any_typed_value_is_a_setting_or_a_sentence(name: str, value: Any) -> None:
    result, problem = check(name, value, text=False)
    if problem is None:
        reads_text = any(isinstance(part, BeforeValidator) for part in FIELDS[name].metadata)
        assert result == value or (reads_text and isinstance(value, str)), "30s is a number of seconds"
    else:
        assert result is None
        assert problem.startswith("must ")
        assert not hidden(problem, allowed="")


@hypothesis.given(names, junk | st.floats().map(str) | st.integers().map(str))
@hypothesis.settings(FUZZ, max_examples=many(1000, 10_000))
def test_any_text_on_the_form_is_a_setting_or_a_sentence(name: str, text: str) -> None:
    result, problem = check(name, text, text=True)
    if problem is None:
        assert check(name, as_text(result), text=True) == (result, None)
        assert isinstance(tomllib.loads(to_toml(Settings.model_construct(**_defaults() | {name: result}))), dict)
    else:
        assert result is None
        assert problem.startswith("must ")
        assert not hidden(problem, allowed="")


def _defaults() -> dict[str, Any]:
    return {name: info.default for name, info in FIELDS.items()}
