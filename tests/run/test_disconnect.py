"""Whether one may leave a run is said as it is: by its checkpoints, its terminal and the login manager."""

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from tests.run.examples import ended, folded, saved, started, trained
from tui_trainer.run import disconnect
from tui_trainer.run.disconnect import (
    AfterDisconnect,
    after_disconnect,
    explanation,
    login_settings,
    status_line,
    why_it_ends_at_log_out,
)
from tui_trainer.run.events import Event

SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
MANAGER = f"0::/user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service/app.slice/tmux.scope\n"


def at(when: float, event: Event) -> Event:
    return replace(event, at=when)


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a login manager, on which the process 7 runs in a login."""
    monkeypatch.setattr(disconnect, "ROOT", tmp_path)
    monkeypatch.setattr(
        pwd, "getpwuid", lambda _: pwd.struct_passwd(("me", "x", 1000, 1000, "", "/home/me", "/bin/sh"))
    )
    write(tmp_path / "run/systemd/system/x", "")
    write(tmp_path / "proc/7/cgroup", SESSION)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "ends"),
    [
        ({}, False),
        ({"etc/systemd/logind.conf": "#KillUserProcesses=no\n"}, False),
        ({"etc/systemd/logind.conf": "#KillUserProcesses=yes\n"}, True),
        ({"etc/systemd/logind.conf": "[Login]\nKillUserProcesses=yes\n"}, True),
        ({"etc/systemd/logind.conf": "KillUserProcesses=yes\nKillExcludeUsers=root me\n"}, False),
        ({"etc/systemd/logind.conf": "KillUserProcesses=yes\nKillOnlyUsers=you\n"}, False),
        ({"etc/systemd/logind.conf": "KillUserProcesses=yes\nKillOnlyUsers=you me\n"}, True),
        (
            {
                "usr/lib/systemd/logind.conf": "#KillUserProcesses=yes\n",
                "etc/systemd/logind.conf.d/50-mine.conf": "[Login]\nKillUserProcesses=no\n",
            },
            False,
        ),
        (
            {
                "usr/lib/systemd/logind.conf.d/90-all.conf": "KillUserProcesses=yes\n",
                "etc/systemd/logind.conf.d/50-mine.conf": "KillUserProcesses=no\n",
            },
            True,
        ),
    ],
)
def test_a_login_ends_its_processes_when_the_login_manager_is_told_to(
    system: Path, files: dict[str, str], ends: bool
) -> None:
    for name, text in files.items():
        write(system / name, text)
    why = why_it_ends_at_log_out(7)
    assert ("KillUserProcesses" in why and "systemd-run --user --scope" in why) is ends
    assert ("enable-linger" in why) is ends


def test_a_process_of_the_users_manager_ends_with_the_last_login_unless_it_lingers(system: Path) -> None:
    write(system / "proc/7/cgroup", MANAGER)
    assert "loginctl enable-linger" in why_it_ends_at_log_out(7)
    write(system / "var/lib/systemd/linger/me", "")
    assert why_it_ends_at_log_out(7) == ""


def test_where_no_login_manager_runs_nothing_is_ended(system: Path) -> None:
    (system / "run/systemd/system/x").unlink()
    (system / "run/systemd/system").rmdir()
    write(system / "etc/systemd/logind.conf", "KillUserProcesses=yes\n")
    assert why_it_ends_at_log_out(7) == ""


def test_a_process_that_is_gone_or_hidden_is_not_said_to_end() -> None:
    assert why_it_ends_at_log_out(8) == "" and after_disconnect(2**22 + 1) == AfterDisconnect()


def test_settings_that_cannot_be_read_are_none(system: Path) -> None:
    (system / "etc/systemd/logind.conf").mkdir(parents=True)
    write(system / "etc/systemd/logind.conf.d/broken.conf", "\x00\xff=\n\nKillUserProcesses")
    assert login_settings() == {}


@pytest.mark.parametrize(
    ("events", "stay", "said"),
    [
        ([], AfterDisconnect(), ""),
        ([started()], AfterDisconnect(), ""),
        ([started(), trained(7)], AfterDisconnect(), "○ nothing saved yet · 7 steps unsaved"),
        (
            [started(), trained(7), at(92.0, saved(7))],
            AfterDisconnect(),
            "● safe to leave · saved 8 s ago · 0 steps unsaved",
        ),
        (
            [started(), at(80.0, saved(3)), trained(9)],
            AfterDisconnect(),
            "● safe to leave · saved 20 s ago · 6 steps unsaved",
        ),
        (
            [started(), at(80.0, saved(3)), trained(9)],
            AfterDisconnect(log_out="x"),
            "○ ends at log-out · 6 steps unsaved",
        ),
        (
            [started(), at(80.0, saved(3)), trained(9)],
            AfterDisconnect(hang_up=False),
            "○ in another terminal · 6 steps unsaved",
        ),
        ([started(), at(80.0, saved(3)), trained(9), ended()], AfterDisconnect(), ""),
    ],
)
def test_the_lamp_says_whether_one_may_leave(events: list, stay: AfterDisconnect, said: str) -> None:
    style, words = status_line(folded(*events), stay, 100.0)
    assert words == said and style == {"": "", "●": "good", "○": "warning"}[said[:1]]


def test_the_question_says_what_is_kept_and_what_would_end_it() -> None:
    assert explanation(folded(started(), trained(7)), AfterDisconnect(), 100.0) == "Nothing is saved yet."
    run = folded(started(), at(80.0, saved(3)), trained(9))
    assert explanation(run, AfterDisconnect(), 100.0) == "Saved 20 s ago, 6 steps since then."
    assert "would not outlive your log-out: because" in explanation(run, AfterDisconnect(log_out="because"), 100.0)
