"""What CONTRIBUTING shows is true: a data set, a model and a task are a file each, a setting is one field."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with the three files and the one field that CONTRIBUTING shows, and not one other change."""
    package = tmp_path_factory.mktemp("copy") / "tui_trainer"
    shutil.copytree(ROOT / "tui_trainer", package, ignore=shutil.ignore_patterns("__pycache__"))
    data_set, model, task, setting = BLOCKS
    (package / "catalog" / "datasets" / "old_kana.py").write_text(data_set)
    (package / "training" / "models" / "builtin" / "linear.py").write_text(model)
    (package / "training" / "tasks" / "top3.py").write_text(task)
    with (package / "settings" / "groups" / "run.py").open("a") as run_settings:
        run_settings.write(f"\n{setting}")
    return package.parent


def said(copy: Path, *words: str) -> list[dict[str, object]]:
    """What the changed program prints, a JSON object a line."""
    here = os.environ | {"PYTHONPATH": str(copy)}
    command = [sys.executable, "-P", "-m", "tui_trainer", *words]
    done = subprocess.run(command, env=here, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_file_of_a_data_set_that_is_shown_is_the_real_one() -> None:
    assert BLOCKS[0] == (ROOT / "tui_trainer" / "catalog" / "datasets" / "kmnist.py").read_text()


def test_a_model_and_a_task_of_one_file_each_are_trained_with(copy: Path) -> None:
    words = ["--model", "linear", "--model-arg", "bias=false", "--task", "top3", "--monitor", "valid_top3"]
    quick = ["--dataset", "fashion-mnist-mini", "--epochs", "1", "--limit-train-batches", "20", "--device", "cpu"]
    events = said(copy, "--no-ui", "--json", *words, *quick)
    (started,) = [event for event in events if event["event"] == "RunStarted"]
    assert (started["task"], started["parameters"]) == ("top3", 7840)
    (valid,) = [event for event in events if event["event"] == "Evaluated" and event["split"] == "valid"]
    assert valid["scores"]["top3"] > valid["accuracy"] > 0.3  # type: ignore[index,operator]
    assert events[-1]["reason"] == "finished"


def test_a_data_set_and_a_model_of_one_file_each_are_listed(copy: Path) -> None:
    assert [row["name"] for row in said(copy, "datasets", "old-kana", "--json")] == ["old-kana"]
    assert [row["name"] for row in said(copy, "models", "linear", "--json")] == ["linear"]


def test_a_setting_of_one_field_is_a_flag_a_variable_a_line_of_help_and_of_a_file(copy: Path) -> None:
    def printed(*words: str, **variables: str) -> str:
        here = os.environ | {"PYTHONPATH": str(copy)} | variables
        command = [sys.executable, "-P", "-m", "tui_trainer", *words]
        return subprocess.run(command, env=here, capture_output=True, text=True, check=True).stdout

    assert "--greeting" in printed("--help") and "A word that you can set. [default: hello]" in printed("--help")
    assert 'greeting = "good day"' in printed("--print-config", "--greeting", "good day")
    assert 'greeting = "servus"' in printed("--print-config", TUI_TRAINER_GREETING="servus")
