"""`tui-trainer doctor` says what is there, what is broken, and what to do about it."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.program import hidden
from tests.cli.test_runs import program
from tui_trainer.cli import doctor
from tui_trainer.outlook.data import DataOutlook
from tui_trainer.settings.schema import Settings

FINE = """
import json
print(json.dumps({"torch": "2.15.0", "threads": 2, "built": "", "devices": DEVICES, "torchvision": "0.29.2"}))
"""


def said(settings: Settings | None = None) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine(settings or Settings())}


def test_this_machine_can_train(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = program(capsys, "doctor")
    assert (code, err) == (0, "") and not hidden(out)
    lines = {line.split()[1]: line for line in out.splitlines() if line[0] in "✔!✖"}
    assert list(lines) == [
        *("tui-trainer", "python", "torch", "torchvision", "cpu", "device", "data", "terminal", "runs", "log-out")
    ]
    assert lines["torch"].startswith("✔") and f"{os.cpu_count()} cores" in lines["cpu"]
    assert "there is none here" in lines["terminal"] and "tui-trainer --no-ui" in out
    assert not Path("runs").exists(), "nothing is made"


def test_the_same_for_scripts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", FINE.replace("DEVICES", '["cuda:0 H200", "cuda:1 \\x1b[2J"]'))
    code, out, _ = program(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 0 and not hidden(out)
    devices = [finding["text"] for finding in found if finding["name"] == "device"]
    assert devices == ["cuda:0 H200", "cuda:1 \\x1b[2J"]


@pytest.mark.parametrize(
    ("look", "name", "text"),
    [
        ("raise RuntimeError('no \\x1b[2J')", "torch", r"cannot be imported: RuntimeError: no \x1b[2J"),
        ("import nothing_of_that_name", "torch", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("import os; os._exit(3)", "torch", "ended with 3"),
        ("import os; os.abort()", "torch", "ended with -6"),
        ("print('[')", "torch", "cannot be looked at"),
        (
            'print(\'{"torch": "2.15", "threads": 2, "built": "", "devices": [], '
            '"fault": "RuntimeError: operator torchvision::nms does not exist"}\')',
            "torchvision",
            "operator torchvision::nms does not exist",
        ),
    ],
)
def test_what_is_broken_is_named_with_what_mends_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, look: str, name: str, text: str
) -> None:
    monkeypatch.setattr(doctor, "_PROBE", look)
    code, out, err = program(capsys, "doctor")
    (line,) = (line for line in out.splitlines() if line.startswith("✖"))
    assert (code, err) == (1, "") and line.split()[1] == name and text in line and not hidden(out)
    assert "make a fresh environment" in out and "Traceback" not in out


def test_a_torch_that_hangs_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", "import time; time.sleep(10**6)")
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)
    assert said()["torch"].stops


def test_data_and_folders_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_PROBE", FINE.replace("DEVICES", "[]"))
    (tmp_path / "file").write_text("")
    found = said(Settings(output_dir=str(tmp_path / "file" / "runs")))
    assert found["runs"].stops and "cannot be written to" in found["runs"].advice
    assert not said(Settings(output_dir=str(tmp_path / "new" / "runs")))["runs"].stops
    told = DataOutlook("fashion-mnist will be downloaded (30.9 MB) to data")
    monkeypatch.setattr("tui_trainer.outlook.data.describe", lambda _: told)
    assert "--dataset fashion-mnist-mini" in said()["data"].advice
