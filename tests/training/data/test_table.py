"""Tables: what their columns become, what is predicted from them, and what is refused with which sentence."""

import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from tests.training.data.tables import PARTS, columns_of, table, write
from tests.training.data.test_data import loaded
from tests.training.plain_loop import only
from tui_trainer.catalog import table_file
from tui_trainer.catalog.table_file import describe_table
from tui_trainer.errors import DataError
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import Evaluated, Event, Preparing, RunEnded, RunStarted, Warned
from tui_trainer.settings.places import is_place
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.training.data import columns, splits
from tui_trainer.training.data.columns import Column, read_columns
from tui_trainer.training.data.examples import Data, Tensors
from tui_trainer.training.loop import fit

HOUSES: dict[str, list[Any]] = {
    "rooms": [3, 4, 2, None, 5, 3, 2, 4, 3, 6, 4, 1],
    "area": [71.5, 90, 44.25, 60, 130, 70, 51, 88, 66, 151, 95, 30],
    "town": ["Ulm", "Bonn", "Ulm", "", "Bonn", "Köln", "Ulm", "Bonn", "Ulm", "Bonn", "Ulm", "Bonn"],
    "garden": ["True", "False", "False", "False", "True"] * 2 + ["True", "False"],
    "price": [310.5, 420, 190, 250, 640, 300, 201, 399, 280, 720.5, 410, 120],
}


def of(path: Path, target: str, **more: Any) -> Settings:
    return Settings(
        dataset=f"table:{path}", target=target, **({"seed": 0, "valid_fraction": 0.25, "device": "cpu"} | more)
    )


def whole(path: Path) -> list[Column]:
    reading = read_columns(path)
    while True:
        try:
            next(reading)
        except StopIteration as done:
            return done.value


def told(events: list[Event]) -> list[str]:
    return [event.text for event in only(Warned, events)]


def inputs(found: Data) -> tuple[torch.Tensor, torch.Tensor]:
    """Those to learn from and those to measure on."""
    assert isinstance(found.train, Tensors) and isinstance(found.valid, Tensors)
    return found.train.inputs, found.valid.inputs


def refused(path: Path, target: str = "price", **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        loaded(of(path, target, **more))
    return str(caught.value)


# --- reading -------------------------------------------------------------------------------------------------------


def test_numbers_texts_and_what_is_missing_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "whole,number,text,mixed,gone,code\n"
        '1, 2.5 ,"a, b",7,NA,1_000\n'
        "\n"
        "-2,1e3,?,x,,2_000\n"
        " 3,inf, c ,7,null,3\n"
        '4,NaN,"a, b",,n/a,4\n'
    )
    found = {column.name: column for column in whole(path)}
    assert found["whole"].numbers.tolist() == [1, -2, 3, 4]
    np.testing.assert_equal(found["number"].numbers, [2.5, 1000, math.nan, math.nan])
    assert (found["text"].texts, found["text"].codes.tolist()) == (("a, b", "c"), [0, -1, 1, 0])
    assert (found["mixed"].texts, found["mixed"].codes.tolist()) == (("7", "x"), [0, 1, 0, -1])
    assert found["gone"].missing().all()
    assert found["code"].texts == ("1_000", "2_000", "3", "4")


@pytest.mark.parametrize("piece", [1, 2, 5, 100])
def test_a_table_is_the_same_however_much_of_it_is_held_at_once(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = {"a": [1, 2, 3, 4, 5, 6, "x"], "b": [1.5] * 6 + [None], "c": ["", "", "u", "v", "u", "", "w"]}
    path = write(tmp_path / "a.csv", late)
    monkeypatch.setattr(columns, "PIECE", piece)
    a, b, c = whole(path)
    assert (a.texts, a.codes.tolist()) == (("1", "2", "3", "4", "5", "6", "x"), [0, 1, 2, 3, 4, 5, 6])
    assert b.numbers[:6].tolist() == [1.5] * 6 and math.isnan(b.numbers[6])
    assert (c.texts, c.codes.tolist()) == (("u", "v", "w"), [-1, -1, 0, 1, 0, -1, 2])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "x,y\n1,a\n2,b\n"),
        ("a.csv", "x;y\n1;a\n2;b\n"),
        ("a.CSV", "x\ty\r\n1\ta\r\n2\tb\r\n"),
        ("a.tsv", "x\ty\n1\ta\n2\tb"),
        ("a.csv", "\ufeffx,y\n1,a\n2,b\n"),
        ("a.csv", '"x","y"\n"1","a"\n"2","b"\n'),
    ],
)
def test_separators_byte_order_marks_and_quotes_are_understood(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    x, y = whole(path)
    assert (x.name, x.numbers.tolist(), y.name, y.texts) == ("x", [1, 2], "y", ("a", "b"))


def test_a_parquet_table_is_the_csv_table(tmp_path: Path) -> None:
    houses = HOUSES | {"garden": [value == "True" for value in HOUSES["garden"]]}
    houses["town"] = pyarrow.array([town or None for town in HOUSES["town"]]).dictionary_encode()
    parquet.write_table(pyarrow.table(houses), tmp_path / "houses.parquet")
    as_csv, _ = loaded(of(write(tmp_path / "houses.csv", HOUSES), "price"))
    as_parquet, _ = loaded(of(tmp_path / "houses.parquet", "price"))
    assert as_csv.fingerprint() == as_parquet.fingerprint()
    assert (as_csv.columns, as_csv.categories) == (as_parquet.columns, as_parquet.categories)


def test_columns_of_a_parquet_table_that_are_neither_numbers_nor_texts_are_left_out(tmp_path: Path) -> None:
    odd = {"when": pyarrow.array(range(12), pyarrow.timestamp("s")), "several": [[n, n] for n in range(12)]}
    parquet.write_table(pyarrow.table(HOUSES | odd), tmp_path / "houses.parquet")
    found, events = loaded(of(tmp_path / "houses.parquet", "price"))
    assert "when" not in found.columns and "several" not in found.columns
    assert any("when, whose values are timestamp[ms], is left out" in text for text in told(events))
    assert "when is timestamp[ms], which is not predicted" in refused(tmp_path / "houses.parquet", "when")


def test_parquet_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    assert "not a Parquet file, or a damaged one" in refused(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refused(tmp_path / "a.parquet").endswith("pip install 'tui-trainer[table]'")


def test_a_home_folder_is_found_and_how_far_the_reading_is_gets_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(columns, "PIECE", 10)
    write(tmp_path / "houses.csv", HOUSES)
    found, events = loaded(of(Path("~/houses.csv"), "price"))
    assert len(found.train) + len(found.valid) == 12 and found.name == "table:~/houses.csv"
    assert [event.what for event in only(Preparing, events)][:2] == [
        "reading the table: 10 rows",
        "reading the table: 12 rows",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a.csv is empty."),
        (b"\n\n", "a.csv is empty."),
        (b"x,price\n", "a.csv has no rows."),
        (b"x,price\n1,2\n3,4,5\n", "line 3 has 3 values, and there are 2 columns. Mend the line"),
        (b'x,price\n1,2\n"a\nb",3\n\n7\n', "line 6 has 1 values"),
        (b"x,price\n1,2\nm\xfcde,3\n", "line 3 is not UTF-8 text. Save the file as UTF-8."),
        (b"x,price\n" + b"1,2\n" * 9000 + b"\xff,3\n", "line 9,002 is not UTF-8 text."),
        ("x,price\n1,2\n".encode("utf-16"), "line 1 is not UTF-8 text."),
        (b'x,price\n1,2\n"a,3\n4,5\n', "the row behind line 2 is not CSV: unexpected end of data."),
        (b"x,x,price\n1,2,3\n", "has two columns called x. Rename one."),
        (b"1,2,3\n4,5,6\n", "the first line must name the columns, and holds numbers only."),
        (b"x,prize\n1,2\n", "has no column price. Did you mean prize? Its columns: x, prize."),
        (b"x,price\n1,\n2,NA\n", "a.csv has no row with a price."),
        (b"x,price\n1,5\n2,5\n3,5\n4,5\n", "price is the same in every row. There is nothing to learn."),
        (b"x,price\n1,a\n2,a\n3,a\n4,a\n", "price is the same in every row. There is nothing to learn."),
        (b"price\n1.5\n2\n3\n4\n", "has no column to predict from, beside price."),
        (b"x,price\n1,2.5\n2,4\n", "valid_fraction 0.25 leaves no examples on one side of 2."),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert words in refused(path)


def test_damaged_tables_are_read_or_refused_and_never_hold_what_is_not_finite(tmp_path: Path) -> None:
    chance = random.Random(5)
    odd = ["1e400", "-inf", "nan", "1_0", "0x1f", "3e38", '"a\nb"', "ü", "\x1b[31m", " 7 ", '""', "\t"]
    path, read = tmp_path / "a.csv", 0
    whole = write(path, HOUSES).read_bytes()
    for _ in range(150):
        cells = whole.decode().replace("\r\n", "\n").split(",")
        cells[chance.randrange(len(cells))] = chance.choice(odd)
        raw = bytearray(",".join(cells).encode())
        if chance.random() < 0.5:
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        path.write_bytes(raw)
        describe_table(path, "price")
        try:
            found, _ = loaded(of(path, "price", valid_fraction=0.3, task="regression"))
        except DataError:
            continue
        read += 1
        for part in (*inputs(found), found.train.targets, torch.tensor([*found.mean, *found.std, *found.target_std])):
            assert torch.isfinite(part).all()
    assert read > 10


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert refused(tmp_path / "none.csv").endswith("none.csv: No such file or directory.")
    assert refused(tmp_path / "folder.csv").endswith("folder.csv: Is a directory.")
    assert "a table must end in .csv, .tsv or .parquet" in refused(tmp_path / "a.xlsx")


def test_without_a_target_its_columns_are_named_and_no_escape_code_gets_through(tmp_path: Path) -> None:
    path = write(tmp_path / "houses.csv", HOUSES | {"\x1b[31mred": [1] * 12})
    message = refused(path, "")
    assert "Name it with --target. Its columns: rooms, area, town, garden, price, \\x1b[31mred." in message
    assert "\x1b" not in message


@pytest.mark.parametrize("name", ["table:houses.csv", "table:a/houses.csv", "table:~/houses", "folder:pets"])
def test_a_table_is_not_taken_for_code_of_the_users_own(name: str) -> None:
    assert not is_place(name) and Settings(dataset=name).dataset == name


# --- what columns become -------------------------------------------------------------------------------------------


def test_numbers_come_first_then_what_is_missing_then_categories(tmp_path: Path) -> None:
    path = write(tmp_path / "houses.csv", HOUSES)
    found, _ = loaded(of(path, "price", overfit_batches=1))
    rooms, area, gap, town, garden = inputs(found)[0].T
    assert found.columns == ("rooms", "area", "rooms is missing", "town", "garden")
    assert (found.kind, found.classes, found.shape, found.categories) == ("number", ("price",), (5,), (3, 3))
    assert rooms.tolist() == [3, 4, 2, 3, 5, 3, 2, 4, 3, 6, 4, 1] and area.tolist() == HOUSES["area"]
    assert gap.tolist() == [0, 0, 0, 1] + [0] * 8
    assert town.tolist() == [2, 1, 2, 0, 1, 0, 2, 1, 2, 1, 2, 1]  # Köln is only once there
    assert garden.tolist() == [1 + (value == "True") for value in HOUSES["garden"]]
    assert found.mean[-2:] == (0, 0) and found.std[-2:] == (1, 1)  # codes stay codes
    assert found.target_mean == pytest.approx((np.mean(HOUSES["price"]),))


def test_nothing_is_learned_from_the_rows_that_are_measured_on(tmp_path: Path) -> None:
    rows = 200
    chance = np.random.default_rng(0)
    plain = {
        "x": [None if n % 9 == 0 else float(n) for n in range(rows)],
        "text": [f"t{n % 5}" for n in range(rows)],
        "y": chance.normal(size=rows).tolist(),
    }
    before, _ = loaded(of(write(tmp_path / "a.csv", plain), "y"))
    held_out = {round(float(y), 4) for y in before.valid.targets}
    other = {name: list(values) for name, values in plain.items()}
    for n, y in enumerate(plain["y"]):
        if round(y, 4) in held_out:
            other["x"][n], other["text"][n] = 1e6, f"unseen {n % 3}"
    after, _ = loaded(of(write(tmp_path / "b.csv", other), "y"))
    assert torch.equal(inputs(before)[0], inputs(after)[0])
    assert (before.mean, before.std, before.categories) == (after.mean, after.std, after.categories)
    assert inputs(after)[1][:, -1].unique().tolist() == [0]  # texts that were never seen


def test_a_number_that_is_missing_only_where_it_is_measured_needs_no_column(tmp_path: Path) -> None:
    first, _ = loaded(of(write(tmp_path / "a.csv", {"x": range(40), "y": range(40)}), "y", task="regression"))
    unseen = int(first.valid.targets[0])
    holey = {"x": [None if n == unseen else n for n in range(40)], "y": range(40)}
    found, _ = loaded(of(write(tmp_path / "b.csv", holey), "y", task="regression"))
    assert found.columns == ("x",) and float(inputs(found)[1][0, 0]) == np.median(inputs(found)[0])


def test_columns_that_nothing_can_be_learned_from_are_left_out_with_a_word(tmp_path: Path) -> None:
    rows = 120
    more = {
        "": list(range(rows)),
        "empty": [None] * rows,
        "key": [f"k{n:04}" for n in range(rows)],
        "some": [f"s{n % 40}" for n in range(rows)],
        "x": range(rows),
        "y": [n % 3 for n in range(rows)],
    }
    found, events = loaded(of(write(tmp_path / "a.csv", more), "y"))
    assert found.columns == ("x", "some")
    assert [text.partition("a.csv: ")[2] for text in told(events)] == [
        "a column without a name is left out",
        "empty, which has no values in the rows to learn from, is left out",
        "key, with 90 different texts in 90 rows, is left out",
    ]


def test_rows_without_a_target_are_left_out_with_a_word(tmp_path: Path) -> None:
    prices = [None if n in (2, 7) else price for n, price in enumerate(HOUSES["price"])]
    found, events = loaded(of(write(tmp_path / "houses.csv", HOUSES | {"price": prices}), "price"))
    assert len(found.train) + len(found.valid) == 10
    assert told(events) == [f"2 rows of {tmp_path / 'houses.csv'} have no target; they are left out"]


# --- what is predicted ---------------------------------------------------------------------------------------------

SEVERAL: dict[str, list[Any]] = {
    "few": [n % 3 for n in range(60)],
    "many": list(range(60)),
    "half": [n / 2 for n in range(60)],
    "word": [("blue", "Amber")[n % 2] for n in range(60)],
    "flag": [n % 2 for n in range(60)],
    "sure": [("Yes", "no")[n % 2] for n in range(60)],
    "a, b": [n % 2 for n in range(60)],
    "vote": [n % 4 for n in range(60)],
    "voice": [1 + n % 2 for n in range(60)],
    "minus": [-1 - n % 3 for n in range(60)],
    "x": [n * 0.5 for n in range(60)],
}


@pytest.mark.parametrize(
    ("target", "task", "kind", "classes"),
    [
        ("few", "auto", "class", ("0", "1", "2")),
        ("few", "regression", "number", ("few",)),
        ("many", "auto", "number", ("many",)),
        ("half", "auto", "number", ("half",)),
        ("word", "auto", "class", ("Amber", "blue")),
        ("flag", "auto", "class", ("0", "1")),
        ("minus", "auto", "class", ("-3", "-2", "-1")),
        ("flag", "multilabel", "labels", ("flag",)),
        ("flag, sure", "auto", "labels", ("flag", "sure")),
        ("flag,sure", "multilabel", "labels", ("flag", "sure")),
        ("a, b", "auto", "class", ("0", "1")),
        ("many,half", "auto", "number", ("many", "half")),
        ("few,flag", "auto", "number", ("few", "flag")),
        ("vote,voice", "distribution", "share", ("vote", "voice")),
    ],
)
def test_the_kind_of_target_follows_from_its_values_unless_the_task_says_otherwise(
    target: str, task: str, kind: str, classes: tuple[str, ...], tmp_path: Path
) -> None:
    found, _ = loaded(of(write(tmp_path / "a.csv", SEVERAL), target, task=task, valid_fraction=0.1))
    assert (found.kind, found.classes) == (kind, classes)
    assert not set(found.columns) & set(target.split(","))
    y = found.train.targets
    assert (y.dtype, y.dim()) == ((torch.int64, 1) if kind == "class" else (torch.float32, 2))
    if kind == "share":
        torch.testing.assert_close(y.sum(1), torch.ones(len(y)))


@pytest.mark.parametrize(
    ("target", "task", "words"),
    [
        ("word,many", "auto", "word holds texts, and several targets must be numbers"),
        ("few,flag", "multilabel", "few, flag must hold 0 and 1 only, or yes and no, to be labels"),
        ("few,flag", "classification", "few, flag are 2 columns, and classification predicts one"),
        ("few", "distribution", "few is one column: shares need one for each class"),
        ("few,minus", "distribution", "few, minus: a share is negative (-3)"),
        ("vote,flag", "distribution", "vote, flag: in a row all shares are 0"),
        ("few,nothing", "auto", "has no column nothing."),
    ],
)
def test_targets_that_do_not_fit_the_task_are_refused(target: str, task: str, words: str, tmp_path: Path) -> None:
    assert words in refused(write(tmp_path / "a.csv", SEVERAL), target, task=task)


def test_without_a_part_to_measure_on_a_tenth_is_held_out_of_every_class(tmp_path: Path) -> None:
    found, _ = loaded(of(write(tmp_path / "a.csv", SEVERAL), "few", valid_fraction=0.0))
    assert torch.bincount(found.valid.targets).tolist() == [2, 2, 2]


def test_rows_are_split_as_other_data_are(tmp_path: Path) -> None:
    settings = of(write(tmp_path / "a.csv", SEVERAL), "few")
    found, _ = loaded(settings)
    held_out = splits.held_out_part(settings, "class", torch.tensor(SEVERAL["few"]))
    many = found.columns.index("many")
    assert inputs(found)[1][:, many].tolist() == held_out.nonzero()[:, 0].tolist()


# --- learning ------------------------------------------------------------------------------------------------------


def run(path: Path, target: str, **more: Any) -> tuple[RunStarted, Evaluated, RunEnded]:
    events = list(fit(of(path, target, **({"epochs": 4, "valid_fraction": 0.1} | more)), Inbox()))
    return only(RunStarted, events)[0], only(Evaluated, events)[-1], events[-1]  # type: ignore[return-value]


def test_a_table_of_classes_is_learned_with_the_usual_settings(tmp_path: Path) -> None:
    started, last, _ = run(table(tmp_path / "clothes.csv", "class", rows=2000), "class", epochs=8)
    assert (started.task, started.outputs, started.settings["loss"]) == ("classification", 10, "cross_entropy")
    assert started.data.startswith(
        f"{tmp_path / 'clothes.csv'}, 16 columns, predicting class (10 classes), held on cpu"
    )
    assert last.accuracy is not None and last.accuracy > 0.7


@pytest.mark.parametrize("target", ["lower", "ink", "lower,ink"])
def test_numbers_are_learned_with_the_usual_settings_however_large_or_small(target: str, tmp_path: Path) -> None:
    started, last, ended = run(table(tmp_path / "clothes.csv", target, rows=2000), target, epochs=3)
    assert (started.task, started.settings["loss"], started.outputs) == ("regression", "mse", len(target.split(",")))
    assert last.scores["r2"] > 0.9 and ended.best_scores["r2"] > 0.9


def test_categories_and_what_is_missing_help_to_predict(tmp_path: Path) -> None:
    every = columns_of(1200)
    seen = {name: every[name] for name in (*PARTS[:4], "class", "lower")}
    for n in range(0, 1200, 7):
        seen[PARTS[0]][n] = seen["class"][n] = None
    with_text, without = dict(seen), {name: values for name, values in seen.items() if name != "class"}
    _, better, _ = run(write(tmp_path / "a.csv", with_text), "lower")
    _, worse, _ = run(write(tmp_path / "b.csv", without), "lower")
    assert better.scores["r2"] > worse.scores["r2"] + 0.1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"image_size": 32}, "holds no images: image_size and pad must be 0"),
        ({"normalize": "imagenet"}, "holds no images: normalize imagenet does not fit it"),
    ],
)
def test_settings_of_images_are_refused(more: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refused(write(tmp_path / "a.csv", SEVERAL), "few", **more)


# --- a short look --------------------------------------------------------------------------------------------------


def test_a_short_look_tells_rows_columns_and_what_is_wrong_without_reading_it_all(tmp_path: Path) -> None:
    path = write(tmp_path / "houses.csv", HOUSES)
    shown = clean(path.name, 60)
    assert describe_table(path, "price") == (f"{shown}: 12 rows, 5 columns, predicting price", 12)
    assert describe_table(path, " rooms, area")[0].endswith("5 columns, predicting rooms, area")
    assert describe_table(path, "")[0].endswith("5 columns, which column is the target?")
    assert describe_table(path, "prize")[0].endswith("5 columns, there is no column prize")
    with open(path, "a") as file:
        file.write("1,2,Ulm,True,3")
    assert describe_table(path, "price")[1] == 13


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "a.csv is empty."),
        ("a.csv", b"\xff\xfea", "line 1 is not UTF-8 text"),
        ("a.csv", b"x,y\n", "0 rows, 2 columns, there is no column price"),
        ("a.csv", b"\x1b[1m,y\n1,2", "1 rows, 2 columns"),
        ("a.parquet", b"x", "a.parquet: its rows and columns are known when it is read"),
        ("a.txt", b"x", "a table must end in .csv, .tsv or .parquet."),
        ("none.csv", None, "none.csv: No such file or directory"),
        ("none.parquet", None, "none.parquet: No such file or directory"),
        ("nul\0.csv", None, "embedded null byte"),
        ("folder.csv", Path(), "folder.csv: Is a directory"),
    ],
)
def test_a_short_look_fails_for_nothing(name: str, content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    text, _ = describe_table(path, "price")
    assert words in text and text.isprintable()


def test_what_is_too_large_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "MOST_COUNTED", 20)
    text, rows = describe_table(write(tmp_path / "houses.csv", HOUSES), "price")
    assert rows is None and "many rows, 5 columns" in text


def test_a_table_of_numbers_needs_no_torch_to_be_looked_at() -> None:
    code = "import sys, tui_trainer.catalog.table_file; assert not {'torch', 'numpy', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
