"""Arguments that are typed for a model are read, and held against what it takes."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.program import hidden
from tests.cli.test_hostile_text import HOSTILE
from tui_trainer.errors import ModelError, SettingsError
from tui_trainer.own.arguments import arguments, call


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("hidden=512,512 dropout=0.1", {"hidden": (512, 512), "dropout": 0.1}),
        ("a=true b=False c=none d=-3 e=1e-3 f=.5", {"a": True, "b": False, "c": None, "d": -3, "e": 1e-3, "f": 0.5}),
        ("a=512, b=x,1,true c='' d=", {"a": (512,), "b": ("x", 1, True), "c": "", "d": ""}),
        ("name='two words' path=/a/b=c", {"name": "two words", "path": "/a/b=c"}),
        ("""a='"7"' b='"x,y"'""", {"a": "7", "b": "x,y"}),
        ("a=007 b=1_0 c=nan d=1e999", {"a": "007", "b": "1_0", "c": "nan", "d": "1e999"}),
    ],
)
def test_words_are_read_as_what_they_look_like(text: str, values: dict[str, object]) -> None:
    assert arguments(text) == values
    assert [type(value) for value in arguments(text).values()] == [type(value) for value in values.values()]


def test_wrong_words_are_told_all_at_once_with_their_flag() -> None:
    with pytest.raises(SettingsError) as raised:
        arguments("hidden 3=4 a=1 a=2", "--loss-arg")
    assert raised.value.problems == [
        "--loss-arg: must be words such as hidden=512,512; found hidden",
        "--loss-arg: must be words such as hidden=512,512; found 3=4",
        "--loss-arg: a is given twice",
    ]
    with pytest.raises(SettingsError, match=r"--model-arg: a quotation mark is not closed in a='b"):
        arguments("a='b")


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_harmless_sentences(text: str) -> None:
    try:
        arguments(text)
    except SettingsError as error:
        assert all(not hidden(problem) for problem in error.problems)


def build(shape: object, outputs: object, hidden: object = (512, 512)) -> Any:
    return shape, outputs, hidden


GIVEN = {"shape": (1, 28, 28), "outputs": 10, "classes": 10}


def called(made: Callable[..., Any], text: str = "", **more: Any) -> Any:
    return call(made, GIVEN, arguments(text), shown="build", flag="--model-arg", **more)


def test_a_factory_gets_those_of_the_offered_values_that_it_takes() -> None:
    assert called(build) == ((1, 28, 28), 10, (512, 512))
    assert called(build, "hidden=64") == ((1, 28, 28), 10, (64,))
    assert called(lambda **rest: rest, "width=3") == {"width": 3}
    assert called(lambda classes, /, width: (classes, width), "width=3") == (10, 3)
    assert called(lambda parameters, outputs: (parameters, outputs), first=("p",)) == ("p", 10)
    assert called(build, "outputs=3")[1] == 3  # what is typed wins


def test_all_that_is_wrong_with_the_arguments_is_told_at_once() -> None:
    def net(width: int, depth: int, dropout: float = 0.0) -> None: ...

    with pytest.raises(ModelError) as raised:
        called(net, "widht=3 dropout=much")
    assert str(raised.value).split("\n") == [
        "build(): takes no 'widht'. Did you mean width? It takes: width, depth, dropout.",
        "build(): 'dropout' must be a number, found 'much'.",
        "build(): needs 'width'; settings give none. Type: --model-arg width=...",
        "build(): needs 'depth'; settings give none. Type: --model-arg depth=...",
    ]
    with pytest.raises(ModelError, match=r"takes no 'x'. It takes nothing."):
        called(lambda: None, "x=1")


@pytest.mark.parametrize(
    ("kind", "text", "result"),
    [
        (int, "x=3", 3),
        (int, "x=3.5", "a whole number"),
        (int, "x=true", "a whole number"),
        (int, "x=abc", "a whole number"),
        (float, "x=3", 3.0),
        (float, "x=abc", "a number"),
        (float, "x=nan", "a number"),
        (bool, "x=true", True),
        (bool, "x=1", "true or false"),
        (str, "x=3", "3"),
        (str, "x=a,1,true", "a,1,true"),
        (int | None, "x=none", None),
        (int | None, "x=a", "a whole number or none"),
        (int | str, "x=3", 3),
        (str | int, "x=3", 3),
        (tuple[int, ...], "x=3", (3,)),
        (tuple[int, ...], "x=3,a", "values with commas between, each a whole number"),
        (tuple[int, int], "x=3", "2 values with commas between"),
        (list[float], "x=3,4", [3.0, 4.0]),
        (Sequence[int], "x=3,4", (3, 4)),
        (tuple, "x=abc", "numbers with commas between"),
        (list, "x=1,2", [1, 2]),
        (Literal["a", "b"], "x=c", "one of 'a', 'b'"),
        (dict[str, int], "x=c", "c"),
    ],
)
def test_a_value_fits_the_type_that_is_annotated(kind: Any, text: str, result: object) -> None:
    def made(x: Any) -> Any:
        return x

    made.__annotations__["x"] = kind
    if isinstance(result, str) and " " in result:
        with pytest.raises(ModelError, match=rf"build\(\): 'x' must be {result}, found "):
            called(made, text)
    else:
        value = called(made, text)
        assert value == result and type(value) is type(result)


@pytest.mark.parametrize(
    ("default", "text", "result"),
    [
        (0.5, "x=1", 1.0),
        (1, "x=0.5", 0.5),
        (1, "x=a", "a number"),
        (False, "x=1", "true or false"),
        ((1, 2), "x=a", "numbers with commas between"),
        ("a", "x=1", "1"),
        ("a", "x=none", "a value"),
        (None, "x=a", "a"),
    ],
)
def test_without_a_type_the_default_says_what_fits(default: object, text: str, result: object) -> None:
    def made(x: Any = default) -> Any:
        return x

    del made.__annotations__["x"]
    if isinstance(result, str) and " " in result:
        with pytest.raises(ModelError, match=f"must be {result}, found"):
            called(made, text)
    else:
        assert called(made, text) == result


def test_annotations_that_are_text_or_nonsense_do_not_stop_a_call() -> None:
    def later(x: "int") -> Any:
        return x

    def nonsense(x: "1 / 0") -> Any:
        return x

    assert called(later, "x=1") == 1 and called(nonsense, "x=a") == "a"
    with pytest.raises(ModelError, match="must be a whole number, found 'a'"):
        called(later, "x=a")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_and_names_are_shown_and_do_nothing(text: str) -> None:
    for made in (build, lambda **_rest: 1 / 0):
        with pytest.raises(ModelError) as raised:
            call(made, {}, {text: text, "hidden": text}, shown=text, flag="--model-arg")
        assert not hidden(str(raised.value))
