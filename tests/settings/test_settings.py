"""One schema, many faces: every setting is a flag, a TOML key, an environment variable, a form field and a line of the
manifest, and whatever is wrong with it is a sentence."""

import datetime
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import strategies as st

from tests.cli.program import hidden
from tests.faults.rights import without_rights
from tui_trainer.cli import main
from tui_trainer.cli.gather import gather
from tui_trainer.errors import SettingsError
from tui_trainer.settings.fields import bytes_of
from tui_trainer.settings.schema import (
    CONFIG_NAME,
    FIELDS,
    GROUPS,
    Settings,
    choices_of,
    contradictions,
    flag,
    group_of,
    is_duration,
    is_simple,
    is_switch,
)
from tui_trainer.settings.sources import Resolved, Source, check, preset, read_environment, read_toml, resolve
from tui_trainer.settings.writing import as_text, flags, to_plain, to_toml

APP = main.make_app()
FUZZ = hypothesis.settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)


def kind(name: str) -> str:
    """switch, choice, int, float or text."""
    if is_switch(name) or choices_of(name):
        return "switch" if is_switch(name) else "choice"
    annotation = str(FIELDS[name].annotation)
    return next(word for word in ("int", "float", "str") if word in annotation).replace("str", "text")


def other(name: str) -> Any:
    """A valid value of a setting that is not its default."""
    special = {
        "device": "cpu",
        "name": "mine",
        "data_dir": "elsewhere",
        "output_dir": "there",
        "seed": 7,
        "after": "last",
        "notify_url": "https://ntfy.sh/mine",
        "target": "price",
        "monitor": "valid_f1",
    }
    special |= {n: "width=3 names='a b',c" for n in FIELDS if n.endswith("_arg")}
    special["when_free"] = "10GiB"
    if name in special:
        return special[name]
    default = FIELDS[name].default
    if kind(name) == "choice":
        return next(word for word in choices_of(name) if word != default)
    return not default if kind(name) == "switch" else default + 1 if kind(name) == "int" else 0.25


def problems_of(call: Callable[[], object]) -> list[str]:
    with pytest.raises(SettingsError) as error:
        call()
    return error.value.problems


def parsed(words: list[str]) -> dict[str, Any]:
    """The settings that words on the command line name."""
    _, bound = main.parse(APP, words)
    return {name: value for name, value in bound.kwargs.items() if name in FIELDS}


def companions(name: str) -> dict[str, Any]:
    """What else must be set so that `other(name)` contradicts nothing."""
    sgd = {"optimizer": "sgd"}
    wanted = {
        "nesterov": sgd | {"momentum": 0.9},
        "momentum": sgd,
        "min_lr": {"lr": 0.5},
        "pretrained": {"model": "resnet18"},
        "loss_arg": {"loss": "losses.py:focal"},
    }
    return wanted.get(name, {})


every_setting = pytest.mark.parametrize("name", FIELDS)

# --- one schema, many faces ---


@every_setting
def test_a_setting_is_a_flag_with_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [flag(name)] if is_switch(name) else [flag(name), as_text(other(name))]
    assert gather(parsed(words) | companions(name)).settings == Settings(**companions(name) | {name: other(name)})
    APP(["--help"])
    assert f" {flag(name)} " in capsys.readouterr().out


@every_setting
def test_a_setting_is_a_toml_key(name: str, tmp_path: Path) -> None:
    settings = Settings(**companions(name) | {name: other(name)})
    (tmp_path / "all.toml").write_text(to_toml(settings), "utf-8")
    assert resolve([read_toml(tmp_path / "all.toml")]).settings == settings


@every_setting
def test_a_setting_is_an_environment_variable(name: str) -> None:
    given = {"TUI_TRAINER_" + n.upper(): as_text(v) for n, v in (companions(name) | {name: other(name)}).items()}
    resolved = resolve([read_environment(given | {"PATH": "/bin"})])
    assert getattr(resolved.settings, name) == other(name)
    assert resolved.origins[name] == "TUI_TRAINER_" + name.upper()


@every_setting
def test_a_setting_is_in_the_manifest_and_in_a_printed_file_even_when_unset(name: str) -> None:
    settings = Settings(**companions(name) | {name: other(name)})
    assert to_plain(settings)[name] == other(name)
    for shown in (to_toml(settings), to_toml(Settings())):
        assert sum(line.removeprefix("# ").startswith(f"{name} =") for line in shown.splitlines()) == 1


@every_setting
def test_a_setting_has_a_place_and_words_on_the_form(name: str) -> None:
    info = FIELDS[name]
    assert group_of(name) in GROUPS
    assert info.title and len(info.title) <= 20
    assert info.description and info.description[0].isprintable() and info.description.endswith(".")
    assert check(name, as_text(other(name)), text=True) == (other(name), None)
    assert check(name, f"  {as_text(other(name))} ", text=True) == (other(name), None)
    assert check(name, as_text(info.default), text=True) == (info.default, None)


def test_every_group_has_settings_and_ten_or_so_are_open_from_the_start() -> None:
    assert {group_of(name) for name in FIELDS} == set(GROUPS)
    assert 8 <= sum(map(is_simple, FIELDS)) <= 12


@pytest.mark.parametrize("name", [n for n in FIELDS if is_switch(n)])
def test_a_switch_has_a_flag_that_turns_it_off_again(name: str, own_folder: Path) -> None:
    (own_folder / CONFIG_NAME).write_text(f'model = "resnet18"\noptimizer = "sgd"\nmomentum = 0.9\n{name} = true\n')
    assert getattr(gather({}).settings, name) is True
    assert getattr(gather(parsed(["--no-" + flag(name)[2:]])).settings, name) is False


# --- where a value comes from ---


def test_later_places_win_and_each_value_knows_its_place(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """default < user file < ./tui-trainer.toml < --config < TUI_TRAINER_* < preset < flag."""
    monkeypatch.setattr("tui_trainer.cli.gather.user_config_path", lambda _: own_folder / "user")
    (own_folder / "user").mkdir()
    user = own_folder / "user" / "settings.toml"
    user.write_text('seed = 1\nsave_every = 1\nsave_top_k = 1\nname = "user"\nlr = 0.1\nepochs = 1\n')
    Path(CONFIG_NAME).write_text('save_every = 2\nsave_top_k = 2\nname = "here"\nlr = 0.2\nepochs = 2\n')
    Path("my.toml").write_text('save_top_k = 3\nname = "config"\nlr = 0.3\nepochs = 3\n')
    for name, value in {"name": "env", "lr": "0.4", "epochs": "4"}.items():
        monkeypatch.setenv("TUI_TRAINER_" + name.upper(), value)
    resolved = gather({"epochs": "6"}, config="my.toml", preset_name="tutorial")
    contested = ("output_dir", "seed", "save_every", "save_top_k", "name", "lr", "epochs")
    assert {name: (getattr(resolved.settings, name), resolved.origins.get(name)) for name in contested} == {
        "output_dir": ("runs", None),
        "seed": (1, f"seed in {user}"),
        "save_every": (2, "save_every in tui-trainer.toml"),
        "save_top_k": (3, "save_top_k in my.toml"),
        "name": ("env", "TUI_TRAINER_NAME"),
        "lr": (0.001, "lr in --preset tutorial"),
        "epochs": (6, "--epochs"),
    }


def test_a_problem_names_the_place_that_it_came_from(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_folder / CONFIG_NAME).write_text("lr = 0\nlerning_rate = 1")
    (own_folder / "my.toml").write_text("epochs = 0")
    monkeypatch.setenv("TUI_TRAINER_BATCH_SIZE", "-1")
    monkeypatch.setenv("TUI_TRAINER_EPOCS", "1")
    assert problems_of(lambda: gather({"patience": "-1", "momentum": "0.9"}, config="my.toml")) == [
        "lr: must be above 0, found 0 (lr in tui-trainer.toml)",
        "lerning_rate in tui-trainer.toml: there is no such setting. Did you mean lr?",
        "epochs: must be at least 1, found 0 (epochs in my.toml)",
        "batch_size: must be at least 0, found '-1' (TUI_TRAINER_BATCH_SIZE)",
        "TUI_TRAINER_EPOCS: there is no such setting. Did you mean epochs?",
        "patience: must be at least 0, found '-1' (--patience)",
        "momentum: adam has none of its own; set momentum to 0, or optimizer to sgd or rmsprop (--momentum)",
    ]


def test_all_errors_are_told_at_once_up_to_ten(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [name for name in FIELDS if kind(name) == "int"]
    assert len(wrong) > 10
    for count in (5, 12):
        with pytest.raises(SystemExit):
            main.main(["--print-config", *(f"{flag(name)}=many" for name in wrong[:count])])
        lines = capsys.readouterr().err.splitlines()
        assert [line.split(":")[0] for line in lines[:10]] == wrong[:10][:count]
        assert lines[10:] == (["... and 2 more"] if count == 12 else [])


# --- wrong values ---

TABLE = (datetime.date(2026, 1, 1), [], [1], {}, {"a": 1})
WRONG: dict[str, tuple[tuple[Any, ...], tuple[str, ...]]] = {  # as a TOML parser gives them; as typed
    "int": ((True, "5", 5.5, 5.0, math.nan, math.inf, -math.inf, -1, 10**20, 1e20, "", *TABLE),
            ("", "x", "5.5", "nan", "inf", "-inf", "-1", "1e20", "0x10", "1,000", "true", "9" * 5000)),
    "float": ((True, "much", math.nan, math.inf, -math.inf, -1, -0.1, 1e20, 10**20, "", *TABLE),
              ("", "x", "nan", "inf", "-inf", "-1", "1e20", "1e999", "0,1", "true", "9" * 5000)),
    "switch": (("true", "on", 0, 1, 1.0, math.nan, "", *TABLE), ("", "maybe", "2", "nan", "none")),
    "choice": ((True, "nothing", 5, math.nan, "", "\0", *TABLE), ("", "nothing", "nan", "true", "\0")),
    "text": ((True, 5, 1.5, math.nan, "\0", "a\0b", "x" * 5000, "", *TABLE), ("\0", "a\0b", "x" * 5000)),
}  # fmt: skip
SAYS = {"int": "a whole number", "float": "a number", "switch": "true or false", "choice": "one of", "text": "a text"}
DEVICES = ("gpu", "cpu:3", "cuda:", "cuda:-1", "cuda:1234", "CUDA", "cuda:1\n", "[red]", "\x1b[31m")
ARGUMENTS = ("hidden", "=3", "a=1 b", "1=2", "a='", "-a=1", "[red]", "\x1b[31m")
SIZES = ("10", "GiB", "-1GB", "1 PB", "1,5GB", "10G", "1e3GB", "10GiB free", "[red]", "\x1b[31m")
NAMES = (".", "..", "../x", "/x", "a/b", "-x", "x y", "x" * 65, "x" * 300, "a\nb", "é", "[red]", "\x1b[31m", "a\\b")
ADDRESSES = ("ntfy.sh/mine", "ftp://ntfy.sh/mine", "file:///etc/passwd", "http://", "https:///mine", "https://a b/",
             "https://x:y@/", "https://x:0/", "https://x:99999/", "https://u:p/w@x/", "http://x/\x1b[31m", "http://x/é",
             "http://x/a\r\nb", "http://[::1", "http://x\\y/", "https://é.x/", "none")  # fmt: skip

wrong_values = [
    (name, value, text) for name in FIELDS for text in (False, True) for value in WRONG[kind(name)][text]
    if not (text and value == "" and FIELDS[name].default is None)
]  # fmt: skip
wrong_values += [("device", value, text) for value in DEVICES for text in (False, True) if value.strip() == value]
wrong_values += [("name", value, text) for value in NAMES for text in (False, True)]
wrong_values = [case for case in wrong_values if case[1] != "" or FIELDS[case[0]].default != ""]
wrong_values += [(name, "", True) for name in FIELDS if kind(name) == "text" and FIELDS[name].default]
wrong_values += [(n, v, text) for n in FIELDS if n.endswith("_arg") for v in ARGUMENTS for text in (False, True)]
wrong_values += [
    ("monitor", value, text) for value in ("loss", "valid", "valid_", "valid_A", "valid_a b") for text in (False, True)
]
wrong_values += [("when_free", value, text) for value in SIZES for text in (False, True)]
wrong_values += [("notify_url", value, text) for value in ADDRESSES for text in (False, True)]


@every_setting
def test_every_wrong_value_is_a_sentence_that_begins_with_the_name(name: str) -> None:
    cases = [(value, text) for wrong, value, text in wrong_values if wrong == name]
    assert len(cases) >= 12
    for value, text in cases:
        (problem,) = problems_of(lambda v=value, t=text: resolve([Source("my.toml", {name: v}, text=t)]))  # type: ignore[misc]
        assert problem.startswith(f"{name}: must "), (value, text, problem)
        assert problem.endswith(f" ({name} in my.toml)"), (value, text, problem)
        assert not hidden(problem, allowed=""), (value, text, problem)
        assert len(problem) < 400, (value, text, problem)


@every_setting
def test_a_value_of_another_type_is_told_the_type_that_is_wanted(name: str) -> None:
    wanted = "a time such as 90s, 15m or 2h" if is_duration(name) else SAYS[kind(name)]
    for value in TABLE if kind(name) in ("int", "float") else (*TABLE, math.nan):
        assert f"must be {wanted}" in (check(name, value, text=False)[1] or "accepted"), value


@pytest.mark.parametrize("name", [name for name in FIELDS if kind(name) in ("int", "float")])
def test_limits_hold_to_the_last_digit_and_no_number_is_without_them(name: str) -> None:
    inside: list[float] = []
    outside: list[float] = []
    for limit in FIELDS[name].metadata:
        match limit:
            case Ge(edge) | Le(edge):
                away = -1 if isinstance(limit, Ge) else 1
                inside.append(edge)
                outside.append(edge + away if kind(name) == "int" else math.nextafter(edge, away * math.inf))
            case Gt(edge) | Lt(edge):
                inward = 1 if isinstance(limit, Gt) else -1
                inside.append(math.nextafter(edge, inward * math.inf))
                outside.append(edge)
    assert len(inside) == 2
    for value in inside:
        assert check(name, value, text=False) == check(name, str(value), text=True) == (value, None)
    for value in outside:
        assert check(name, value, text=False)[1] and check(name, str(value), text=True)[1]


@pytest.mark.parametrize("word", ["none", "None", "NONE"])
def test_a_run_can_be_named_none_but_a_seed_cannot(word: str) -> None:
    assert check("name", word, text=True) == (word, None)
    assert check("seed", word, text=True) == (None, None)


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), (" 90 s ", 90), ("15m", 900), ("2h", 7200), ("1.5h", 5400), ("1:30", 90),
     ("1:30:00", 5400), ("0:00:05", 5), ("1e3", 1000)],
)  # fmt: skip
def test_a_time_can_be_typed_in_seconds_minutes_hours_or_as_a_clock_shows_it(typed: str, seconds: float) -> None:
    assert check("max_time", typed, text=True) == (seconds, None)
    if typed not in ("1e3", " 90 s "):
        assert resolve([Source("my.toml", {"max_time": typed})]).settings.max_time == seconds
    assert resolve([Source("my.toml", {"max_time": seconds})]).settings.max_time == seconds


@pytest.mark.parametrize("typed", ["-5s", "5 d", "s", "1:2:3:4", "1:5", ":30", "1m30s", "five", "9" * 400 + "h", "nan"])
def test_what_is_no_time_is_refused(typed: str) -> None:
    for text in (True, False):
        assert (check("max_time", typed, text=text)[1] or "").startswith("must be ")


@pytest.mark.parametrize(
    ("typed", "size", "count"),
    [("10GiB", "10GiB", 10 * 2**30), (" 1.5 gb ", "1.5GB", 1_500_000_000), ("800mb", "800MB", 800_000_000),
     ("2TiB", "2TiB", 2**41), ("64 kib", "64kiB", 65_536), ("0", "0", 0), ("0GB", "0", 0), (0, "0", 0)],
)  # fmt: skip
def test_a_size_can_be_typed_with_any_unit_and_is_kept_as_it_is_written(typed: Any, size: str, count: int) -> None:
    for text in (True, False):
        assert check("when_free", typed, text=text) == (size, None)
    assert bytes_of(size) == count


# --- wrong names ---


def edits(name: str) -> set[str]:
    """`name` with one letter left out, or with two neighbours swapped."""
    shorter = {name[:i] + name[i + 1 :] for i in range(len(name))}
    swapped = {name[:i] + name[i + 1] + name[i] + name[i + 2 :] for i in range(len(name) - 1)}
    return (shorter | swapped) - set(FIELDS)


@pytest.mark.parametrize("name", [name for name in FIELDS if len(name) >= 4])
def test_a_name_with_one_slip_gets_did_you_mean(name: str) -> None:
    for slip in sorted(edits(name)):
        (problem,) = problems_of(lambda s=slip: resolve([Source("my.toml", {s: 1})]))  # type: ignore[misc]
        assert problem == f"{slip} in my.toml: there is no such setting. Did you mean {name}?"
    slip = min(edits(name))
    (problem,) = problems_of(lambda: parsed([f"{flag(slip)}=1"]))
    assert problem == f"{flag(slip)}=1: there is no such option. Did you mean {flag(name)}?"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("learning_rate", "lr"), ("lerning_rate", "lr"), ("data_set", "dataset"), ("clip_gradients", "clip_grad"),
     ("EPOCHS", "epochs"), ("xyzzy", None), ("", None), ("x" * 100_000, None), ("\x1b[31m", None)],
)  # fmt: skip
def test_the_words_on_the_form_are_understood_as_names_too(word: str, meant: str | None) -> None:
    (problem,) = problems_of(lambda: resolve([Source("my.toml", {word: 1})]))
    assert problem.endswith(f" Did you mean {meant}?" if meant else "there is no such setting.")
    assert not hidden(problem)
    assert len(problem) < 200


def test_wrong_options_and_wrong_values_are_told_together() -> None:
    words = ["--epohcs", "3", "--lr=0", "--batchsize=64", "--patience", "-1"]
    assert [problem.split(":")[0] for problem in problems_of(lambda: main.parse(APP, words))] == [
        "--epohcs",
        "--batchsize=64",
        "lr",
        "patience",
    ]


# --- an address that holds a password ---

SECRET = "https://user:pass@ntfy.sh/topic?auth=token"


def test_the_password_of_an_address_is_in_no_journal_no_checkpoint_and_no_manifest() -> None:
    settings = Settings(notify_url=SECRET)
    assert settings.model_dump()["notify_url"] is None  # what journals and checkpoints are made from
    assert to_plain(settings)["notify_url"] == "https://ntfy.sh/topic"
    assert settings.model_copy(update={"lr": 0.5}).notify_url == SECRET


def test_a_wrong_address_is_not_repeated_because_it_may_hold_a_password() -> None:
    (problem,) = problems_of(lambda: gather({"notify_url": "htps://user:pass@ntfy.sh/"}))
    assert problem.startswith("notify_url: must be an http:// or https:// address") and "pass" not in problem


# --- contradictions ---


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"momentum": 0.9}, ("momentum", "optimizer")),
        ({"momentum": 0.9, "optimizer": "adamw"}, ("momentum", "optimizer")),
        ({"nesterov": True}, ("nesterov", "optimizer", "momentum")),
        ({"nesterov": True, "optimizer": "sgd"}, ("nesterov", "optimizer", "momentum")),
        ({"nesterov": True, "optimizer": "rmsprop", "momentum": 0.9}, ("nesterov", "optimizer", "momentum")),
        ({"warmup_epochs": 1.0, "scheduler": "onecycle"}, ("warmup_epochs", "scheduler")),
        ({"warmup_epochs": 5.0}, ("warmup_epochs", "epochs")),
        ({"warmup_epochs": 1.5, "epochs": 1}, ("warmup_epochs", "epochs")),
        ({"min_lr": 0.01}, ("min_lr", "lr")),
        ({"min_lr": 0.01, "lr": 0.001}, ("min_lr", "lr")),
        ({"overfit_batches": 1, "limit_train_batches": 1}, ("overfit_batches", "limit_train_batches")),
    ],
)
def test_a_contradiction_is_one_sentence_that_names_every_key_and_where_it_was_set(
    given: dict[str, Any], names: tuple[str, ...]
) -> None:
    (problem,) = problems_of(lambda: resolve([Source("my.toml", given)]))
    assert problem.startswith(f"{names[0]}: ")
    assert all(name in problem for name in names)
    assert problem.endswith(f"({', '.join(f'{name} in my.toml' for name in names if name in given)})")
    assert problems_of(lambda: Settings(**given)) == [problem.rsplit(" (", 1)[0]]


def test_a_contradiction_is_not_told_when_one_of_its_keys_is_wrong_already() -> None:
    (problem,) = problems_of(lambda: resolve([Source("my.toml", {"min_lr": 0.1, "lr": 0})]))
    assert problem.startswith("lr: must be above 0")


# --- TOML files ---

NEVER_A_FILE: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (b"lr = 1\nname = '\xff'\n", "not UTF-8 text at line 2, column 9"),
    "not UTF-8 after a byte order mark": (b"\xef\xbb\xbflr = 1\nx\xff", "not UTF-8 text at line 2, column 2"),
    "UTF-16": ("lr = 1".encode("utf-16"), "not UTF-8 text at line 1, column 1"),
    "NUL": (b"lr = 1\n\0\n", "not valid TOML: .*line 2, column 1"),
    "cut off": (b'lr = 1\nname = "ab', "not valid TOML: .*(line 2, column 11|end of document)"),
    "cut off after =": (b"lr =", "not valid TOML: .*(line 1, column 5|end of document)"),
    "no TOML": (b"lr: 1\n", "not valid TOML: .*line 1, column 3"),
    "a key twice": (b"lr = 1\nlr = 2\n", "not valid TOML: .*line 2, column 7"),
    "an escape code": (b"lr = 1\n\x1b[31m = 2\n", "not valid TOML: .*line 2, column 1"),
    "nested lists": (b"lr = " + b"[" * 50_000, "is nested too deep"),
    "nested tables": (b"lr = " + b"{a=" * 50_000, "is nested too deep"),
    "5,000 digits": (b"epochs = " + b"9" * 5000, "holds a number that is too long"),
    "too large": (b"#" * 1_000_001, "is too long \\(over 1 MB\\)"),
}


@pytest.mark.parametrize(("data", "says"), NEVER_A_FILE.values(), ids=NEVER_A_FILE)
def test_a_file_that_is_not_toml_is_named_with_line_and_column(own_folder: Path, data: bytes, says: str) -> None:
    (own_folder / "my.toml").write_bytes(data)
    with pytest.raises(SettingsError, match=f"^settings file my.toml: {says}") as error:
        gather({}, config="my.toml")
    assert len(error.value.problems) == 1
    assert not hidden(str(error.value))


@pytest.mark.parametrize(
    "text",
    ["epochs = 0x" + "f" * 5000, "lr" + ".a" * 3000 + " = 1", "lr = " + "[" * 90 + "]" * 90, "lr = 1e99999",
     "epochs = " + "9" * 4000, "name = '" + "x" * 900_000 + "'", "[epochs]", "[[epochs]]", "lr = 1979-05-27T07:32:00Z"],
    ids=["hex", "deep table", "deep list", "exponent", "digits", "long", "table", "tables", "date"],
)  # fmt: skip
def test_a_monstrous_value_is_a_wrong_value_like_any_other(own_folder: Path, text: str) -> None:
    (own_folder / "my.toml").write_text(text)
    (problem,) = problems_of(lambda: gather({}, config="my.toml"))
    assert problem.startswith(f"{text.strip('[').split()[0].split('.')[0].rstrip(']')}: must ")
    assert len(problem) < 300


def test_files_that_are_none_say_so(own_folder: Path) -> None:
    (own_folder / "folder.toml").mkdir()
    missing = "settings file none.toml: there is no such file"
    assert problems_of(lambda: gather({}, config="none.toml")) == [missing]
    folder = "settings file folder.toml: is a folder, not a file"
    assert problems_of(lambda: gather({}, config="folder.toml")) == [folder]
    assert problems_of(lambda: gather({}, config="")) == ["settings file .: is a folder, not a file"]
    (own_folder / "secret.toml").write_text("lr = 0.5")
    with without_rights(own_folder / "secret.toml"):
        forbidden = ["settings file secret.toml: Permission denied"]
        assert problems_of(lambda: gather({}, config="secret.toml")) == forbidden
    for path in ("a\0b", "x" * 5000, "\x1b[31m", "\udcff"):
        (problem,) = problems_of(lambda p=path: gather({}, config=p))  # type: ignore[misc]
        assert problem.startswith("settings file ")
        assert not hidden(problem)
        assert len(problem) < 300


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbflr = 0.5", b"lr = 0.5\r\n", b"lr = 0.5 # \xc3\xa9", b"lr=+5e-1\n" + b"\n" * 900_000]
)
def test_what_editors_do_to_a_file_is_accepted(own_folder: Path, data: bytes) -> None:
    (own_folder / "my.toml").write_bytes(data)
    assert gather({}, config="my.toml").settings.lr == 0.5


def test_problems_of_several_files_are_told_together(own_folder: Path) -> None:
    (own_folder / CONFIG_NAME).write_text("lr =")
    problems = problems_of(lambda: gather({"epochs": "0"}, config="none.toml", preset_name="fast"))
    assert [problem.split(":")[0] for problem in problems] == [
        "settings file tui-trainer.toml",
        "settings file none.toml",
        "--preset",
        "epochs",
    ]


# --- presets, and settings given back ---


TUTORIAL = {"model": "mlp", "loss": "cross_entropy", "optimizer": "sgd", "lr": 1e-3, "epochs": 5, "batch_size": 64}
EXTRAS = (
    *("valid_fraction", "momentum", "weight_decay", "clip_grad", "label_smoothing", "warmup_epochs", "min_lr"),
    *("min_delta", "patience", "max_steps", "max_time", "limit_train_batches", "overfit_batches"),
)
BARE = dict.fromkeys(EXTRAS, 0) | {"scheduler": "none", "nesterov": False, "grad_accum_steps": 1, "val_interval": 1}


def test_the_tutorial_preset_is_the_tutorials_script_and_nothing_more_whatever_a_file_says() -> None:
    lively = Source("my.toml", {name: other(name) for name in FIELDS} | {"optimizer": "rmsprop"})
    for sources in ([preset("tutorial")], [lively, preset("tutorial")]):
        settings = resolve(sources).settings
        assert {name: getattr(settings, name) for name in TUTORIAL | BARE} == TUTORIAL | BARE


def test_a_flag_beside_a_preset_wins() -> None:
    settings = gather({"lr": "0.1"}, preset_name="quick").settings
    assert (settings.lr, settings.optimizer, settings.model) == (0.1, "adamw", "cnn")


LIMITS = (Ge, Gt, Le, Lt)
NASTY = ("-", "--", "--help", "-h", "--version", "--no-ui", "-1", "a b", "=", "a=b", "#", "'", '"""', "\\n",
         "[red]", "ünï", "\t", "\x1b[31m", "\x7f", "none", "true", "1", "~", "*", "$HOME", "\u202e", "😀")  # fmt: skip
foreign = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30).filter(
    lambda text: not text.lstrip().startswith("~")  # a home folder must exist
)


def valid(name: str) -> st.SearchStrategy[Any]:
    """Any value that a setting can have."""
    if kind(name) == "switch":
        return st.booleans()
    if kind(name) == "choice":
        return st.sampled_from(choices_of(name))
    if name == "device":
        return st.from_regex(r"(auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?)", fullmatch=True)
    if name == "name":
        return st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", fullmatch=True) | st.sampled_from(["none", None])
    if name == "monitor":
        return st.sampled_from(["valid_loss", "valid_accuracy", "valid_f1", "valid_r2"])
    if name.endswith("_arg"):
        return st.from_regex(r"([a-z_]{1,8}=[0-9a-z,.=-]{0,8}( [a-z_]{1,8}='[^'\0\n]{0,8}')?)?", fullmatch=True)
    if name == "when_free":
        return st.from_regex(r"0|[1-9][0-9]{0,5}(\.[0-9]{1,3})?[kMGT]i?B", fullmatch=True)
    if name == "notify_url":
        return st.sampled_from(
            [None, "http://x", "https://u:p%40w@ntfy.sh:8443/mine?auth=QmFzaWM", "http://[::1]:80/", "HTTPS://x/-/~;,"]
        )
    if kind(name) == "text":
        return (st.sampled_from(NASTY) | foreign).map(str.strip).filter(bool)  # blanks around a path are slips
    edges = {type(m): getattr(m, type(m).__name__.lower()) for m in FIELDS[name].metadata if isinstance(m, LIMITS)}
    low, high = edges.get(Ge, edges.get(Gt)), edges.get(Le, edges.get(Lt))
    if kind(name) == "int":
        return st.integers(low, high) | (st.none() if FIELDS[name].default is None else st.nothing())
    return st.floats(low, high, exclude_min=Gt in edges, exclude_max=Lt in edges)


@st.composite
def valid_settings(draw: st.DrawFn) -> Settings:
    values = draw(st.fixed_dictionaries({}, optional={name: valid(name) for name in FIELDS}))
    defaults = {name: info.default for name, info in FIELDS.items()}
    while found := contradictions(Settings.model_construct(**defaults | values)):
        values = {name: value for name, value in values.items() if name not in found[0][0]}
    return Settings(**values)


@hypothesis.given(valid_settings())
@hypothesis.settings(FUZZ, max_examples=150)
def test_the_words_that_a_run_was_configured_with_give_the_same_run(settings: Settings) -> None:
    assert gather(parsed(flags(settings))).settings == settings


@hypothesis.given(valid_settings())
@hypothesis.settings(FUZZ, max_examples=300)
def test_a_printed_file_gives_the_same_settings(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "printed.toml").write_text(to_toml(settings), "utf-8")
    assert resolve([read_toml(tmp_path / "printed.toml")]).settings == settings


@hypothesis.given(valid_settings())
@hypothesis.settings(FUZZ, max_examples=300)
def test_what_a_form_shows_is_what_it_reads(settings: Settings) -> None:
    for name in FIELDS:
        value = getattr(settings, name)
        assert check(name, as_text(value), text=True) == (value, None)


def test_print_config_given_back_with_config_gives_the_same_settings(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--preset", "quick", "--name", "it", "--max-time", "15m", "--data-dir", "[red]ünï\\"]
    with pytest.raises(SystemExit) as end:
        main.main([*words, "--print-config"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    (own_folder / "printed.toml").write_text(printed, "utf-8")
    assert set(tomllib.loads(printed)) == set(FIELDS) - {"seed", "after", "notify_url"}
    assert gather({}, config="printed.toml").settings == gather(parsed(words[2:]), preset_name="quick").settings


def test_the_manifest_of_a_run_can_be_passed_back(own_folder: Path) -> None:
    (own_folder / "run.toml").write_text('lr = 0.5\n[provenance]\nhost = "h"\npid = 1\n')
    assert gather({}, config="run.toml") == Resolved(Settings(lr=0.5), {"lr": "lr in run.toml"})
