"""Whose code runs: named by the user, known by its SHA-256, and in a file that nobody else can change."""

import json
import os
import stat
from pathlib import Path

import pytest

from tests.cli.program import hidden
from tests.cli.test_hostile_text import HOSTILE
from tui_trainer.cli import main, new_project
from tui_trainer.errors import FolderError, ModelError, UsageError
from tui_trainer.own import location, trust
from tui_trainer.own.location import find
from tui_trainer.settings.sources import read_toml

owner = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")


@pytest.fixture(autouse=True)
def usual_rights() -> None:
    Path("model.py").write_text("def build(): ...\n")
    os.chmod("model.py", 0o644)


def test_a_place_is_of_one_of_two_forms() -> None:
    parse = location.parse
    assert parse("a/b.py:Net") == location.Location("a/b.py", None, "Net")
    assert parse("C:/x/b.py:a.b") == location.Location("C:/x/b.py", None, "a.b")
    assert parse("package.module:a.b") == location.Location(None, "package.module", "a.b")
    for text in ("", "cnn", "model.py", "model.py:", ":Net", "model.py:3", "a b:Net", "a.py:x..y", "a.:x"):
        with pytest.raises(ModelError, match=r"is no place of code|is neither a module nor"):
            parse(text)


def test_one_place_has_one_location_whatever_leads_there(own_folder: Path) -> None:
    os.symlink("model.py", "link.py")
    wanted = find("model.py:build")
    assert wanted.location == f"{own_folder.resolve()}/model.py:build"
    assert find("./link.py:build") == find(f"{own_folder}/model.py:build") == wanted


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("modle.py:build", r"there is no file .*/modle.py. Did you mean model.py\?"),
        ("nowhere/model.py:build", r"there is no file .*/nowhere/model.py."),
        ("pipe.py:build", r"pipe.py is not a plain file."),
        ("round.py:build", r"round.py"),
        ("nowhere.at.all:build", r"there is no installed module nowhere. Install it first."),
        ("json.nothing:build", r"there is no installed module json.nothing."),
        ("colorsys.sub:build", r"colorsys is a module and holds no other modules."),
        ("sys:exit", r"is no file that could be looked at."),
    ],
)
def test_a_place_that_is_not_there_is_a_sentence(text: str, sentence: str) -> None:
    os.mkfifo("pipe.py")
    os.symlink("round.py", "round.py")
    with pytest.raises(ModelError, match=sentence):
        find(text)


def test_finding_a_module_runs_nothing_of_it(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_folder / "site" / "package").mkdir(parents=True)
    for name in ("__init__.py", "module.py"):
        (own_folder / "site" / "package" / name).write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(own_folder / "site")
    assert find("package.module:Net").path == own_folder / "site" / "package" / "module.py"


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o622])
def test_a_file_that_others_can_write_is_refused(mode: int) -> None:
    os.chmod("model.py", mode)
    with pytest.raises(
        ModelError, match=rf"model.py can be changed by others \(mode {mode:o}\). Type: chmod go-w /.*/model"
    ):
        find("model.py:build")


def test_so_is_one_in_a_folder_that_others_can_write_unless_only_owners_can_rename_there(own_folder: Path) -> None:
    (own_folder / "open" / "inner").mkdir(parents=True)
    os.rename("model.py", "open/inner/model.py")
    os.chmod("open", 0o777)
    with pytest.raises(ModelError, match=r"open can be changed by others \(mode 777\)"):
        find("open/inner/model.py:build")
    os.chmod("open", 0o1777)
    assert find("open/inner/model.py:build").path.name == "model.py"


@owner
def test_a_file_or_folder_of_another_user_is_refused() -> None:
    os.chown("model.py", 12345, 0)
    with pytest.raises(ModelError, match=r"model.py belongs to user 12345, who could change what runs"):
        find("model.py:build")


@owner
def test_a_group_of_the_owner_alone_may_write_and_another_may_not() -> None:
    os.chmod("model.py", 0o664)
    os.chown("model.py", 0, 0)
    assert find("model.py:build")
    os.chown("model.py", 0, 12345)
    with pytest.raises(ModelError, match="can be changed by others"):
        find("model.py:build")


# --- trust


def test_code_of_a_settings_file_runs_only_when_it_is_known() -> None:
    found = find("model.py:build")
    with pytest.raises(ModelError) as raised:
        trust.need(found, named_by_user=False, place="tui-trainer.toml")
    assert str(raised.value) == (
        f"tui-trainer.toml names code that has not been run here before: {found.path}\n"
        f"SHA-256 {found.sha256}.\n"
        f"Look at the file. If it may run, type: --trust-plugin {found.sha256[:12]}"
    )
    assert raised.value.exit_code == 4 and not trust.file().exists()
    trust.need(found, named_by_user=False, trusted=(found.sha256[:12].upper(),))
    trust.need(found, named_by_user=False)  # from now on


def test_code_that_the_user_names_is_remembered_until_it_changes() -> None:
    trust.need(find("model.py:build"), named_by_user=True)
    trust.need(find("model.py:build"), named_by_user=False)
    Path("model.py").write_text("def build(): print()\n")
    with pytest.raises(ModelError, match=r"\. It has been changed since you last agreed to it\."):
        trust.need(find("model.py:build"), named_by_user=False)


def test_the_list_is_the_users_alone_and_keeps_what_it_has() -> None:
    trust.remember("a" * 64, Path("/a.py"))
    first = json.loads(trust.file().read_text())["trusted"]["a" * 64]
    trust.remember("b" * 64, Path("/b.py"))
    assert stat.S_IMODE(trust.file().stat().st_mode) == 0o600
    assert stat.S_IMODE(trust.file().parent.stat().st_mode) == 0o700
    assert list(trust.known()) == ["a" * 64, "b" * 64] and trust.known()["a" * 64] == first


@pytest.mark.parametrize("content", ["", "{", "[]", '{"trusted": 3}', '{"trusted": {"a": 3}}', "\xff", "[" * 100_000])
def test_a_damaged_list_trusts_nothing_and_is_replaced(content: str) -> None:
    trust.file().parent.mkdir(parents=True)
    trust.file().write_bytes(content.encode("latin-1"))
    assert not trust.known() and not trust.is_trusted("a")
    trust.remember("a" * 64, Path("/a.py"))
    assert trust.is_trusted("a" * 64)


def test_a_list_that_others_can_write_trusts_nothing() -> None:
    trust.remember("a" * 64, Path("/a.py"))
    os.chmod(trust.file(), 0o666)
    assert not trust.is_trusted("a" * 64)


def test_where_nothing_can_be_kept_the_run_goes_on(own_folder: Path) -> None:
    (own_folder / "config").write_text("a file where the folder should be")
    trust.need(find("model.py:build"), named_by_user=True)
    assert not trust.known()


@pytest.mark.parametrize("word", ["", "abc", "a" * 11, "a" * 65, "g" * 12, "all", "*", "\x1b[2J" * 4])
def test_too_short_a_beginning_trusts_nothing(word: str) -> None:
    with pytest.raises(UsageError) as raised:
        trust.need(find("model.py:build"), named_by_user=False, trusted=(word,))
    assert "--trust-plugin: must be the first 12 to 64 digits of a SHA-256" in str(raised.value)
    assert not hidden(str(raised.value))


def test_changed_code_is_told_with_what_it_was_and_is() -> None:
    assert trust.changed({"/a.py:Net": "a" * 64}, {"/a.py:Net": "a" * 64, "/new.py:x": "c" * 64}) is None
    assert trust.changed({"/a.py:Net": "a" * 64}, {"/a.py:Net": "b" * 64}) == (
        f"/a.py:Net has changed: it had SHA-256 {'a' * 64}, and has {'b' * 64} now.\n"
        "The run would go on with other code. If that is meant, type: --allow-plugin-change"
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_of_files_are_shown_and_do_nothing(text: str, own_folder: Path) -> None:
    try:
        (own_folder / f"{text}.py").write_text("x = 1")
    except (ValueError, OSError):
        pytest.skip("no file can be called that")
    found = find(f"{own_folder}/{text}.py:x")
    said = trust.changed({found.location: "a"}, {found.location: "b"})
    with pytest.raises(ModelError) as raised:
        trust.need(found, named_by_user=False, place=text)
    assert said and not hidden(said) and not hidden(str(raised.value))
    trust.remember(found.sha256, found.path)


# --- tui-trainer new


def test_new_writes_a_project_whose_code_is_known(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["new", "deep/my project"])
    assert ended.value.code == 0
    folder = own_folder / "deep" / "my project"
    assert sorted(os.listdir(folder)) == sorted(new_project.FILES)
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"wrote deep/my project/{name}" for name in new_project.FILES]
    assert err == "Train it with: cd 'deep/my project' && tui-trainer\n"
    named = read_toml(folder / "tui-trainer.toml").values
    os.chdir(folder)
    for kind in ("model", "dataset", "loss"):
        trust.need(find(str(named[kind])), named_by_user=False)


def test_new_overwrites_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["new"])
    assert ended.value.code == 2 and os.listdir() == ["model.py"]
    assert ". holds model.py already. Nothing was written." in capsys.readouterr().err
    with pytest.raises(FolderError, match=r"model.py/x cannot be written: Not a directory."):
        new_project.write(Path("model.py/x"))
