"""The fenced blocks of a page, and a shell that runs their commands in this process or says why it cannot."""

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tui_trainer.cli import main as cli

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SCREENS = "There is no terminal for the screens here."


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    """Of its fence, from 1."""
    kind: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    found, opened = [], None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.startswith("```"):
            if opened:
                opened[2].append(line)
        elif opened:
            found.append(Block(page.name, opened[0], opened[1], "\n".join(opened[2]) + "\n"))
            opened = None
        else:
            opened = (number, line[3:].strip(), [])
    assert opened is None, f"{page.name}:{opened[0]}: a block is not closed"  # type: ignore[index]
    return found


class Wrong(AssertionError):
    """A command that does not do what a page says."""


class Shell:
    """Runs the lines of a page one after another, in the current folder."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.said = ""
        """What the last command of the program wrote to stdout and stderr."""

    def run(self, line: str) -> None:
        """
        Raises:
            Wrong: there is no such command, or it fails.
        """
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            self._command(words[:end])
            words = words[end + 1 :]

    def _command(self, words: list[str]) -> None:
        with self._monkeypatch.context() as patch:
            while re.match(r"[A-Z_]+=", words[0]):
                name, _, value = words.pop(0).partition("=")
                patch.setenv(name, value)
            match words:
                case ["cd", folder]:
                    os.chdir(folder)
                case ["pip", "install", "uv"]:
                    pass
                case ["ssh", "-t", _, command]:
                    self.run(command.removeprefix("cd project && "))
                case ["uv", "pip" | "tool" as kind, "install", *rest]:
                    install(rest, f"uv {kind} install")
                case ["uv", "venv", _]:
                    pass
                case ["pipx", "install", "."]:
                    assert PROJECT["project"]["scripts"].keys() == {"tui-trainer"}
                case ["uv", "run", "--group", group, *rest]:
                    if group not in PROJECT["dependency-groups"]:
                        raise Wrong(f"pyproject.toml has no group {group}")
                    tool(rest)
                case ["uv", "run", "tui-trainer", *rest] | ["tui-trainer", *rest]:
                    self._program(rest)
                case ["uv", "run", *rest]:
                    tool(rest)
                case _:
                    raise Wrong(f"nobody knows how to run {shlex.join(words)}")

    def _program(self, words: list[str]) -> None:
        """A command of the program: it ends well, or would open a screen."""
        output = None
        if ">" in words:
            at = words.index(">")
            words, output = words[:at], words[at + 1]
        self._capsys.readouterr()
        try:
            cli.main(words)
        except SystemExit as ended:
            out, err = self._capsys.readouterr()
            self.said = out + err
            if ended.code not in (0, None) and SCREENS not in err:
                raise Wrong(f"tui-trainer {shlex.join(words)} ends with {ended.code}: {err or out}") from None
        if output is not None:
            Path(output).write_text(out)


@cache
def help_of(command: str) -> str:
    """What uv says of one of its commands; "" where there is no uv."""
    if shutil.which("uv") is None:
        return ""
    done = subprocess.run([*command.split(), "--help"], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout if done.returncode == 0 else ""


def install(words: list[str], command: str) -> None:
    """An installation is not made; what it names is there, and uv knows its options.

    Raises:
        Wrong: something in it is not so.
    """
    for word in words:
        name = word.partition("=")[0]
        if word.startswith("-") and (known := help_of(command)) and not re.search(rf"(^|\s){name}\b", known):
            raise Wrong(f"{command} knows no {name}")
        if word.endswith((".txt", ".toml")) and not (ROOT / word).is_file():
            raise Wrong(f"there is no {word}")
    target = words[-1]
    if not (match := re.fullmatch(r"\.(\[([a-z,]+)\])?", target)):
        raise Wrong(f"{command} {target}: only the clone itself can be installed")
    for extra in (match[2] or "").split(",") if match[2] else ():
        if extra not in PROJECT["project"]["optional-dependencies"]:
            raise Wrong(f"pyproject.toml has no extra {extra}")


def tool(words: list[str]) -> None:
    """A tool of the repository is not run; it is there, with its options and what it is given.

    Raises:
        Wrong: something in it is not so.
    """
    sources = ""
    match words:
        case ["pytest", *given]:
            sources = (ROOT / "tests/conftest.py").read_text()
        case ["python", "-m", module, *given]:
            if not (ROOT / (module.replace(".", "/") + ".py")).is_file():
                raise Wrong(f"there is no module {module}")
        case [script, *given] if (ROOT / script).is_file():
            sources = (ROOT / script).read_text()
            if script.endswith(".py") is os.access(ROOT / script, os.X_OK):
                raise Wrong(f"{script} cannot be run so")
        case _:
            raise Wrong(f"there is no {words[0]}")
    for word in given:
        if word.startswith("-") and f'"{word}"' not in sources:
            raise Wrong(f"{words[0]} knows no {word}")
        if not word.startswith("-") and not (ROOT / word).exists():
            raise Wrong(f"there is no {word}")
