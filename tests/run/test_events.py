"""An event is the same in memory, in a journal and on `--no-ui --json`."""

import dataclasses
import json
import math

import pytest

from tests.run.examples import EVERY_KIND, ended, epoch_ended, evaluated, started, trained
from tui_trainer.run.events import Event, RunPaused
from tui_trainer.run.events_json import KINDS, from_json, to_json


def test_there_is_an_example_of_every_kind() -> None:
    assert {type(event).__name__ for event in EVERY_KIND} == set(KINDS)


@pytest.mark.parametrize("event", EVERY_KIND, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_from_its_line_as_it_was(event: Event) -> None:
    line = to_json(event)
    assert "\n" not in line
    assert from_json(line) == event == from_json(line.encode())


@pytest.mark.parametrize("event", EVERY_KIND, ids=lambda event: type(event).__name__)
def test_a_line_names_its_kind_first_and_holds_every_field_but_empty_ones(event: Event) -> None:
    values = json.loads(to_json(event))
    assert next(iter(values.items())) == ("event", type(event).__name__)
    fields = {field.name: field for field in dataclasses.fields(event)}
    assert set(values) <= {"event", *fields}
    for name in set(fields) - set(values):
        default = fields[name].default
        assert not getattr(event, name)
        assert default is None or default == getattr(event, name) or fields[name].default_factory is dict


def test_a_zero_that_was_measured_is_written() -> None:
    assert json.loads(to_json(evaluated(1, 0.0, accuracy=0.0))).items() >= {"loss": 0.0, "accuracy": 0.0}.items()
    assert "accuracy" not in json.loads(to_json(dataclasses.replace(evaluated(1), accuracy=None)))
    assert json.loads(to_json(ended()))["error"] is None, "what an event must say it says, nothing too"


def test_lists_come_back_as_tuples_all_the_way_down() -> None:
    read = from_json(to_json(started()))
    assert read.layers == (("Flatten", "4", 0), ("Linear", "2", 10)) and read.classes == ("cat", "dog")
    assert from_json(to_json(evaluated(1))).confusion == ((9, 1), (4, 6))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null_on_the_wire_and_nan_when_read(value: float) -> None:
    for event, name in (
        (trained(1, value), "loss"),
        (evaluated(1, value), "loss"),
        (epoch_ended(1, value), "train_loss"),
    ):
        line = to_json(event)
        assert json.loads(line)[name] is None and "NaN" not in line and "Infinity" not in line
        read = from_json(line)
        assert math.isnan(getattr(read, name))
        assert dataclasses.replace(read, **{name: 0.0}) == dataclasses.replace(event, **{name: 0.0})
    assert from_json(to_json(trained(1, grad_norm=value))).grad_norm is None, "a field that may be unset is unset"


def test_a_whole_number_where_a_float_is_meant_is_read_as_one() -> None:
    event = trained(1, 1.0)
    line = to_json(event).replace('"loss":1.0', '"loss":1')
    read = from_json(line)
    assert line != to_json(event) and read == event and isinstance(read.loss, float)


def test_a_kind_of_a_newer_program_is_passed_over_and_so_are_its_new_fields() -> None:
    assert from_json('{"event": "ModelShrunk", "at": 1.0, "by": 3}') is None
    event = RunPaused()
    assert from_json(to_json(event)[:-1] + ', "mood": "calm"}') == event


def test_a_field_that_a_line_lacks_has_its_default_where_there_is_one() -> None:
    line = to_json(started()).replace(',"resumed_from":null', "")
    assert "resumed_from" not in line and from_json(line).resumed_from is None
    assert from_json('{"event":"RunPaused"}').at > 1.7e9
    with pytest.raises(ValueError, match="'text' is missing"):
        from_json('{"event":"Warned","at":1.0}')


LINE = to_json(trained(3))
REFUSED = {
    "nothing": "",
    "torn": LINE[:-1],
    "torn in a number": LINE[: LINE.index("0.5")],
    "no JSON": "RuntimeError: out of memory",
    "no object": "[1, 2]",
    "a number": "3",
    "null": "null",
    "not UTF-8": b'{"event": "Warned", "text": "\xff\xfe"}',
    "a field missing": LINE.replace('"loss":1.0,', ""),
    "text for a number": LINE.replace('"loss":1.0', '"loss":"1.0"'),
    "true for a number": LINE.replace('"loss":1.0', '"loss":true'),
    "true for a whole number": LINE.replace('"step":3', '"step":true'),
    "a fraction for a whole number": LINE.replace('"step":3', '"step":3.5'),
    "null for a whole number": LINE.replace('"step":3', '"step":null'),
    "null for a text": '{"event": "Warned", "at": 1.0, "text": null}',
    "a number for a text": '{"event": "Warned", "at": 1.0, "text": 3}',
    "a text for a list": to_json(evaluated(1)).replace("[[9,1],[4,6]]", '"9 1 4 6"'),
    "a list of other things": to_json(evaluated(1)).replace("[4,6]", "4"),
    "too few items": to_json(started()).replace('["Linear","2",10]', '["Linear","2"]'),
    "a list for a table": to_json(started()).replace('"settings":{', '"settings":[],"x":{'),
    "nested without end": "[" * 100_000,
    "nested in a field": '{"event": "Warned", "at": 1.0, "text": ' + "[" * 100_000,
    "a number too large": LINE.replace('"loss":1.0', '"loss":1' + "0" * 400),
    "a number too long": LINE.replace('"step":3', '"step":3' + "0" * 5000),
}


def test_every_line_to_be_refused_differs_from_a_good_one() -> None:
    assert not {LINE, to_json(evaluated(1)), to_json(started())} & set(REFUSED.values())


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_event_is_refused_with_a_value_error(name: str) -> None:
    with pytest.raises(ValueError):
        from_json(REFUSED[name])


def test_an_event_is_frozen_and_knows_when_it_happened() -> None:
    event = ended()
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.reason = "failed"
    assert event.at > 1.7e9
