"""Runs of the user's own code, from a file, a package or a script: trained, carried on, exported."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from tests.training.plain_loop import only
from tui_trainer import Outcome, train
from tui_trainer.cli import main
from tui_trainer.cli.background import run_by
from tui_trainer.cli.local_run import local_run
from tui_trainer.errors import ModelError, SettingsError, TrainerError
from tui_trainer.own import trust
from tui_trainer.own.admitted import Admitted, admit
from tui_trainer.run.background import Orders
from tui_trainer.run.commands import Continue, HandOver, Inbox, Park, Stop
from tui_trainer.run.events import BatchTrained, Evaluated, RunEnded, RunPaused, RunStarted, Warned
from tui_trainer.run.folder import RunFolder
from tui_trainer.run.local import LocalRun
from tui_trainer.run.resume import Resume
from tui_trainer.settings.schema import CONFIG_NAME, Settings
from tui_trainer.training.loop import fit
from tui_trainer.training.saving.safe_load import load

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, shape, outputs, hidden: int = 8):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(shape[0], hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, x):
        return self.layers(x)

class Points(torch.utils.data.Dataset):
    classes = ["below", "above"]

    def __init__(self, examples):
        self.x = torch.rand(examples, 2, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], int(self.x[i, 1] > self.x[i, 0])

def points(examples: int = 200):
    return Points(examples), Points(40)

def focal(outputs, y, gamma: float = 2.0):
    chosen = outputs.log_softmax(1).gather(1, y[:, None])
    return -((1 - chosen.exp()) ** gamma * chosen).mean()

def noisy(X):
    return X + 0.01 * torch.randn_like(X)
"""

OWN = {"model": "Net", "dataset": "points", "loss": "focal", "augment": "noisy"}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A file of the user's, outside the repository."""
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def settings(code: Path) -> Settings:
    named = {name: f"{code}:{attribute}" for name, attribute in OWN.items()}
    return Settings(**named, epochs=2, batch_size=32, log_interval=1, seed=3, device="cpu", model_arg="hidden=6")


def losses(events: list[Any]) -> list[float]:
    return [event.loss for event in only(BatchTrained, events)]


def test_a_run_of_ones_own_parts_says_what_it_trains_and_is_measured(settings: Settings) -> None:
    events = list(fit(settings, Inbox()))
    (started,) = only(RunStarted, events)
    assert (started.classes, started.shape, started.train_examples, started.valid_examples) == (
        ("below", "above"), (2,), 200, 40,
    )  # fmt: skip
    assert [shape for name, shape, _ in started.layers if name == "Linear"] == ["6", "2"]
    (end,) = only(RunEnded, events)
    assert end.reason == "finished" and len(only(Evaluated, events)) == 2


def test_it_is_carried_on_in_the_middle_of_an_epoch_bit_for_bit(settings: Settings, tmp_path: Path) -> None:
    whole = list(fit(settings, Inbox(), tmp_path / "whole"))
    inbox, first = Inbox(), []
    for event in fit(settings, inbox, tmp_path / "parts"):
        first.append(event)
        if isinstance(event, BatchTrained) and event.step == 9:
            inbox.send(Stop())
    second = list(fit(settings, Inbox(), tmp_path / "parts", Resume()))
    assert losses(first) + losses(second) == losses(whole)
    ends = [load(tmp_path / name / "last.pt")["model_state_dict"] for name in ("whole", "parts")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])  # one imports torch as two do
def test_workers_know_the_code_however_they_are_started(settings: Settings, start: str, workers: int) -> None:
    alone = losses(list(fit(settings, Inbox())))
    more = settings.model_copy(update={"workers": workers, "mp_context": start, "epochs": 1})
    assert losses(list(fit(more, Inbox()))) == alone[:7]


def test_code_of_an_installed_package_is_the_same(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "my_parts"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "parts.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(package.parent))
    named = {name: f"my_parts.parts:{attribute}" for name, attribute in OWN.items()}
    assert losses(list(fit(settings.model_copy(update=named), Inbox()))) == losses(list(fit(settings, Inbox())))


def test_changed_code_is_refused_when_a_run_is_carried_on_unless_it_is_meant(
    settings: Settings, code: Path, tmp_path: Path
) -> None:
    list(fit(settings, Inbox(), tmp_path / "run"))
    before = Admitted.find(settings).code["model"].sha256
    code.write_text(CODE.replace("nn.ReLU()", "nn.Tanh()"))
    longer = settings.model_copy(update={"epochs": 3})
    with pytest.raises(TrainerError, match=rf"(?s)SHA-256 {before}.*--allow-plugin-change"):
        list(fit(longer, Inbox(), tmp_path / "run", Resume()))
    events = list(fit(longer, Inbox(), tmp_path / "run", Resume(allow_code_change=True)))
    assert any("other code" in warned.text for warned in only(Warned, events))
    assert only(RunEnded, events)[0].reason == "finished"


def run_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main.main(words)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


QUICK = ["--epochs", "1", "--batch-size", "32", "--device", "cpu", "--seed", "3"]


@pytest.mark.usefixtures("code")
def test_from_the_command_line_a_run_trains_is_carried_on_from_elsewhere_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [word for name, attribute in OWN.items() for word in (f"--{name}", f"mine.py:{attribute}")]
    assert run_of(["--no-ui", *QUICK, *named, "--name", "own", "--model-arg", "hidden=5"], capsys)[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    rc, out, err = run_of(["resume", str(tmp_path / "runs" / "own"), "--no-ui", "--epochs", "2"], capsys)
    assert (rc, "2/2" in out) == (0, True), err
    rc, out, err = run_of(["export", str(tmp_path / "runs" / "own"), "--format", "torch-export"], capsys)
    assert rc == 0, err
    program = torch.export.load(out.strip()).module()
    assert program(torch.rand(3, 2)).shape == (3, 2)
    again = ["export", str(tmp_path / "runs" / "own"), "--format", "safetensors"]
    trust.file().unlink()
    rc, _, err = run_of(again, capsys)
    assert rc == 4 and "run.toml names code that has not been run here before" in err
    digits = Admitted.find(Settings(model=f"{tmp_path / 'mine.py'}:Net")).code["model"].sha256[:12]
    assert run_of([*again, "--trust-plugin", digits], capsys)[0] == 0
    (tmp_path / "mine.py").write_text(CODE.replace("nn.ReLU()", "nn.Tanh()"))
    rc, _, err = run_of([*again, "--force"], capsys)
    assert rc == 5 and "has changed" in err and "Bring back the code that the run has learned with." in err


def test_what_a_settings_file_names_does_not_run_before_the_user_has_agreed(
    code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = code.with_name("ran")
    code.write_text(CODE + f"\nopen({str(ran)!r}, 'w').close()\n")
    Path(CONFIG_NAME).write_text('model = "mine.py:Net"\ndataset = "mine.py:points"\n')
    rc, _, err = run_of(["--no-ui", *QUICK], capsys)
    digits = Admitted.find(Settings(model="mine.py:Net")).code["model"].sha256[:12]
    assert rc == 4 and f"--trust-plugin {digits}" in err and not ran.exists() and not Path("runs").exists()
    assert run_of(["--no-ui", *QUICK, "--trust-plugin", digits], capsys)[0] == 0
    assert run_of(["--no-ui", *QUICK], capsys)[0] == 0  # it is known from now on


BROKEN = {
    "no file": ("none.py:Net", "there is no file"),
    "no such name": ("mine.py:Ney", "Did you mean Net?"),
    "not a model": ("mine.py:focal", "needs 'y'"),
    "a class that is none": ("mine.py:Points", "needs 'examples'"),
    "no module": ("no_such_package.x:Net", "no installed module"),
    "syntax": ("syntax.py:Net", "line 2"),
    "import": ("imports.py:Net", "no_such_module_here"),
    "exit": ("exits.py:Net", "SystemExit"),
    "nothing to learn": ("empty.py:Net", "nothing to learn"),
    "wrong width": ("wide.py:Net", "Net gives (32, 7) for 32 examples; classification needs (32, 2)"),
    "fails in forward": ("fails.py:Net", "mat1 and mat2"),
    "gives text": ("text.py:Net", "gives something of type str"),
}
FILES = {
    "syntax": "import torch\ndef Net(:\n",
    "imports": "import no_such_module_here\n",
    "exits": "import sys\nsys.exit(3)\n",
    "empty": "from torch import nn\nNet = nn.Flatten\n",
    "wide": "from torch import nn\ndef Net(shape):\n    return nn.Linear(2, 7)\n",
    "fails": "from torch import nn\ndef Net(shape):\n    return nn.Linear(9, 2)\n",
    "text": "def Net():\n    return 'a model'\n",
}


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("what", BROKEN)
def test_broken_code_ends_with_a_sentence_and_its_exit_code(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in FILES.items():
        Path(f"{name}.py").write_text(text)
    place, says = BROKEN[what]
    rc, _, err = run_of(["--no-ui", *QUICK, "--dataset", "mine.py:points", "--model", place], capsys)
    assert (rc, says in err, "Traceback" in err) == (4, True, False), err


def test_data_without_a_length_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Path("stream.py").write_text("def numbers():\n    return ((i, 0) for i in range(9))\n")
    rc, _, err = run_of(["--no-ui", *QUICK, "--dataset", "stream.py:numbers"], capsys)
    assert rc == 3 and "numbers gives generator, not a data set of items (x, y)" in err, err


# --- from a script ---


def pair(examples: int) -> TensorDataset:
    x = torch.rand(examples, 2, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, (x[:, 0] > x[:, 1]).long())


def test_a_script_trains_its_own_objects_and_carries_the_run_on() -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    before = model[0].weight.detach().clone()
    used: dict[str, Any] = {
        "data": (pair(200), pair(50)),
        "classes": ["less", "more"],
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        "ui": False,
        "device": "cpu",
    }
    outcome = train(model, **used, epochs=2, lr=0.1, seed=1)
    assert isinstance(outcome, Outcome) and (outcome.reason, outcome.exit_code) == ("finished", 0)
    assert outcome.best_scores["accuracy"] > 0.5 and outcome.folder is not None
    assert not torch.equal(before, model[0].weight)  # it is trained in place
    assert (outcome.folder / "checkpoints" / "best.pt").is_file()
    again = train(model, **used, epochs=4, resume=outcome.folder.name)
    assert (again.reason, again.folder) == ("finished", outcome.folder)


def test_a_script_is_told_of_wrong_settings_and_a_run_without_its_objects_says_where_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SettingsError, match=r"lerning_rate.*Did you mean"):
        train(nn.Linear(2, 2), pair(9), ui=False, lerning_rate=3)
    outcome = train(nn.Linear(2, 2), pair(90), ui=False, epochs=1, device="cpu")
    assert outcome.folder is not None
    rc, _, err = run_of(["resume", outcome.folder.name, "--no-ui", "--epochs", "2"], capsys)
    assert rc == 4 and "is an object of the script that began this run" in err


def test_a_run_of_a_script_is_not_handed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    events = LocalRun.events

    def told(self: LocalRun) -> Any:
        for event in events(self):
            if isinstance(event, RunStarted):
                self.send(HandOver())
            yield event

    monkeypatch.setattr(LocalRun, "events", told)
    outcome = train(nn.Linear(2, 2), pair(90), ui=False, epochs=1, device="cpu")
    assert outcome.reason == "finished"
    assert "the run is not handed over: it has objects of a script" in capsys.readouterr().err


def test_the_package_itself_loads_neither_torch_nor_a_screen() -> None:
    code = "import sys, tui_trainer; print(sorted({'torch', 'textual', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_names_that_no_file_bears_are_refused(code: Path) -> None:
    with pytest.raises(ModelError):
        Admitted.find(Settings(model="nowhere.py:Net"))
    assert RunFolder.create(Settings(model=f"{code}:Net", dataset=f"{code}:points")).path.name.endswith("-Net-points")


# --- what was agreed to is what runs -------------------------------------------------------------------------------

OTHER = CODE.replace("nn.ReLU()", "nn.Tanh(), nn.Linear(hidden, hidden)")


def test_what_was_admitted_runs_though_the_file_is_another_by_then(settings: Settings, code: Path) -> None:
    located, admitted = admit(settings, {}, [sha256(code.read_bytes()).hexdigest()])
    run = local_run(located.model_copy(update={"epochs": 1}), code=admitted)
    code.write_text(OTHER)
    events = list(run.events())
    assert events[-1].reason == "finished"
    (begun,) = [event for event in events if isinstance(event, RunStarted)]
    assert [name for name, _, _ in begun.layers] == ["Flatten", "Linear", "ReLU", "Linear"]
    saved = load(run.folder.checkpoints / "last.pt")
    assert saved["code"] == admitted.digests() and len(saved["model_state_dict"]) == 4


def test_the_process_in_the_background_gets_the_source_that_was_admitted(settings: Settings, code: Path) -> None:
    located, admitted = admit(settings, {}, [sha256(code.read_bytes()).hexdigest()])
    folder = RunFolder.create(located)
    orders = Orders.from_json(Orders.of(folder, 7, located, code=admitted).to_json())
    code.unlink()
    assert Admitted.from_plain(orders.code) == admitted
    assert run_by(orders)._code == admitted


def test_a_parked_run_goes_on_with_the_source_that_it_began_with(settings: Settings, code: Path) -> None:
    inbox, events = Inbox(), []
    for event in fit(settings.model_copy(update={"epochs": 3, "log_interval": 1}), inbox):
        events.append(event)
        if isinstance(event, RunStarted):
            inbox.send(Park())
        elif isinstance(event, RunPaused):
            code.unlink()
            inbox.send(Continue())
    assert any(isinstance(event, RunPaused) and event.why == "parked" for event in events)
    assert events[-1].reason == "finished"
