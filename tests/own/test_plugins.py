"""The user's own code: broken in many ways, each with its sentence; and whole, in this process and in workers."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.cli.program import hidden
from tests.cli.test_hostile_text import HOSTILE
from tui_trainer.cli.new_project import FILES
from tui_trainer.errors import ModelError
from tui_trainer.own import loading
from tui_trainer.own.loading import Kind, Plugin, load
from tui_trainer.own.location import find
from tui_trainer.training.data.with_code import WithCode
from tui_trainer.training.models import own

NET = """
from torch import nn
class Net(nn.Linear):
    def __init__(self, width, classes=2):
        super().__init__(width, classes)
"""

BROKEN = {
    "no file": (None, "there is no file {here}/code.py."),
    "a folder": ("FOLDER", "{here}/code.py is a folder, not a file."),
    "syntax": ("import os\ndef Net(:\n    pass\n", "code.py, line 2: invalid syntax: def Net(:"),
    "indentation": ("def Net():\npass\n", "code.py, line 2: expected an indented block after function definition"),
    "not text": (b"\xff\xfe\x00Net", "code.py"),
    "nul": (b"Net = 1\0", "code.py: "),
    "no such module": (
        "\nimport nowhere_at_all\n",
        "code.py, line 2: it imports nowhere_at_all, which is not installed",
    ),
    "a module beside": (
        "import beside\n",
        "it imports beside, which lies beside it and is not installed. Put both into",
    ),
    "relative": ("from . import beside\n", "code.py, line 1: ImportError: attempted relative import"),
    "no such name": ("from torch import Nothing\n", "code.py, line 1: ImportError: cannot import name 'Nothing'"),
    "fails": ("def f():\n    return 1 / 0\nNet = f()\n", "code.py, line 2: ZeroDivisionError: division by zero"),
    "fails elsewhere": (
        "import json\n\njson.loads('{')\n",
        "code.py, line 3: JSONDecodeError: Expecting property name",
    ),
    "exit": ("import sys\nsys.exit(3)\n", "code.py, line 2: it ends the program (SystemExit: 3). Take the call"),
    "base": ("class Stop(BaseException): pass\nraise Stop\n", "code.py, line 2: Stop"),
    "generator exit": ("raise GeneratorExit('x')\n", "code.py, line 1: GeneratorExit: x"),
    "for ever": ("def f(): f()\nf()\n", "code.py, line 1: RecursionError: maximum recursion depth exceeded"),
    "wordless": ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E\n", "code.py, line 3: E"),
    "escapes": ("raise ValueError('\\x1b[2J[/nope]')\n", "code.py, line 1: ValueError: \\x1b[2J[/nope]"),
    "other name": (NET.replace("Net", "Nett"), "there is no Net in code.py. Did you mean Nett? It has: Nett."),
    "no names": ("", "there is no Net in code.py."),
    "a number": ("Net = 3\n", "Net is of type int, not a class or function."),
    "lazy": ("def __getattr__(name): return 1 / 0\n", "code.py, line 1: ZeroDivisionError"),
}


def write(content: str | bytes, name: str = "code.py") -> Path:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def plugin(content: str, name: str, kind: Kind = "model") -> Plugin:
    return load(f"{write(content)}:{name}", kind)


@pytest.mark.parametrize("case", BROKEN)
def test_code_that_is_broken_is_a_sentence_with_file_and_line(case: str, own_folder: Path) -> None:
    content, sentence = BROKEN[case]
    write("x = 1\n", "beside.py")
    if content == "FOLDER":
        Path("code.py").mkdir()
    elif content is not None:
        write(content)
    before = (list(sys.path), set(sys.modules))
    with pytest.raises(ModelError) as raised:
        load("code.py:Net", "model")
    assert sentence.format(here=own_folder) in str(raised.value)
    assert "code.py:Net" in str(raised.value) and not hidden(str(raised.value))
    assert raised.value.exit_code == 4
    ran = case in ("other name", "no names", "a number", "lazy")
    assert sys.path == before[0]
    assert ran == any(name.startswith("tui_trainer_user_code") for name in set(sys.modules) - before[1])


def test_ctrl_c_during_an_import_is_let_through() -> None:
    write("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("code.py:Net", "model")


def test_what_is_loaded_leaves_nothing_beside_it_and_nothing_in_the_search_path(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    before = list(sys.path)
    loaded = plugin(NET, "Net")
    assert loaded.path == own_folder / "code.py" and loaded.location == f"{own_folder}/code.py:Net"
    assert loaded.sha256 == find("code.py:Net").sha256 and len(loaded.sha256) == 64
    assert os.listdir() == ["code.py"] and sys.path == before and "code.py" not in sys.modules
    assert load("code.py:Net", "loss").made is loaded.made  # run once, whoever names it


def test_a_changed_file_is_other_code_and_what_was_hashed_is_what_runs() -> None:
    write("def make(): return 1\n")
    found = find("code.py:make")
    write("def make(): return 2\n")
    assert load(found, "model").made() == 1
    again = load("code.py:make", "model")
    assert again.made() == 2 and again.sha256 != found.sha256


def test_names_inside_a_class_and_in_an_installed_package_are_found() -> None:
    assert plugin("class Nets:\n    @staticmethod\n    def small(): return 1\n", "Nets.small").made() == 1
    loaded = load("torch.nn:HuberLoss", "loss")
    assert loaded.made is nn.HuberLoss and loaded.path.match("torch/nn/__init__.py")
    with pytest.raises(ModelError, match=r"there is no NAdm in torch.optim. Did you mean NAdam\? It has: .*Adafactor"):
        load("torch.optim:NAdm", "optimizer")
    with pytest.raises(ModelError, match=r"there is no smal in code.py. Did you mean small\? It has: small."):
        load("code.py:Nets.smal", "model")


def test_modules_are_not_looked_for_in_the_current_folder(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("raise SystemExit\n", "colorsys.py")
    write("def Net(): return 1\n", "mine.py")
    monkeypatch.setattr(sys, "path", [str(own_folder), *sys.path])  # as `python -m` has it
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with pytest.raises(ModelError, match=r"no installed module mine. For the file here write mine.py:Net"):
        load("mine:Net", "model")
    assert plugin("import colorsys\nNet = colorsys.rgb_to_hsv\n", "Net").made(0, 0, 0) == (0.0, 0.0, 0)
    assert sys.path[0] == str(own_folder)


def test_what_the_code_prints_goes_to_stderr_and_does_nothing_there(capsys: pytest.CaptureFixture[str]) -> None:
    made = plugin("print('\\x1b[2Jhello'); print('no end', end='')\ndef Net(): print('made')\n", "Net")
    own.make(made, {}, {})
    out, err = capsys.readouterr()
    assert not out and err == "\\x1b[2Jhello\nno end\nmade\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_shown_and_do_nothing(text: str) -> None:
    for location in (text, f"{text}:Net", f"{text}.py:Net", f"/{text}:{text}", f"torch.nn:{text}", f"code.py:{text}"):
        with pytest.raises(ModelError) as raised:
            load(location, "model")
        assert not hidden(str(raised.value))


SET = """
import numpy as np, torch
class Squares:
    classes = ["even", "odd"]
    def __init__(self, examples=8): self.examples = examples
    def __len__(self): return self.examples
    def __getitem__(self, i): return torch.tensor([float(i) ** 2]), Label(i % 2)
class Label(int): pass
"""


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_data_set_from_a_file_reaches_workers_however_they_start_and_whatever_becomes_of_the_file(start: str) -> None:
    squares = WithCode(own.make(plugin(SET, "Squares", "dataset"), {}, {}))
    write("1 / 0\n")
    loader = DataLoader(squares, batch_size=4, num_workers=1, multiprocessing_context=start)
    batches = [(X[:, 0].tolist(), y.tolist()) for X, y in loader]
    assert batches == [([0.0, 1.0, 4.0, 9.0], [0, 1, 0, 1]), ([16.0, 25.0, 36.0, 49.0], [0, 1, 0, 1])]


def test_a_pickle_without_the_code_cannot_be_read_elsewhere_and_one_with_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    squares = own.make(plugin(SET, "Squares", "dataset"), {}, {})
    bare, whole = pickle.dumps(squares), pickle.dumps(WithCode(squares))
    monkeypatch.setattr(loading, "_files", {})  # another process
    for name in [name for name in sys.modules if name.startswith("tui_trainer_user_")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(bare)
    assert len(pickle.loads(whole)) == 8


# --- what the code makes


def fails(sentence: str) -> "pytest.RaisesExc[ModelError]":
    return pytest.raises(ModelError, match=sentence)


GIVEN = {"shape": (3,), "inputs": 3, "outputs": 2, "classes": ("a", "b")}

NO_MODEL = {
    "def m(width): pass": r"m\(\): needs 'width'; settings give none. Type: --model-arg width=...",
    "def m(): return 3": r"m\(\) gives something of type int, not a model \(torch.nn.Module\)",
    "def m(): pass": r"m\(\) gives nothing, not a model",
    "def m(): return nn.Linear": r"m\(\) gives the class Linear, not a model. Return one made of it",
    "def m(): return nn.ReLU()": r"m\(\) gives a model with nothing to learn. It has no parameters",
    "def m(): return nn.Linear(1, 1).requires_grad_(False)": r"nothing to learn. All of its parameters are frozen",
    "def m(): return nn.LazyLinear(3)": r"weight, bias has no size yet",
    "def m(): return nn.Linear(2, 2, device='meta')": r"without numbers: its parameters are on the device meta",
    "def m(): return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device='meta'))": (
        r"several devices: 0.weight on cpu, 1.weight on meta. Leave all of it on one"
    ),
    "def m(shape):\n  return nn.Linear(*shape)": r"m\(\): code.py, line 3: TypeError: Linear.__init__\(\) missing",
    "def m(): raise SystemExit": r"m\(\): code.py, line 2: it ends the program",
    "class m(nn.Module): pass": r"m\(\) gives a model with nothing to learn",
    "m = nn.Linear(1, 1)": r"m is one model, made already. Name its class",
}


@pytest.mark.parametrize("code", NO_MODEL)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_is_no_model_that_could_learn_is_refused(code: str) -> None:
    with fails(NO_MODEL[code]):
        own.make_model(plugin(f"from torch import nn\n{code}\n", "m"), GIVEN, {})


def test_a_model_gets_what_it_has_parameters_for_and_what_is_typed() -> None:
    model = own.make_model(plugin(NET, "Net"), GIVEN | {"classes": 5}, {"width": 4})
    assert isinstance(model, nn.Linear) and (model.in_features, model.out_features) == (4, 5)


LOSSES = {
    "def loss(outputs, y): return (outputs[:, 0] - y).square().mean()": {},
    "def loss(a, b, power=2.0): return (a[:, 0] - b).pow(power).mean()": {"power": 2},
    "def loss(a, b, *, power): return (a[:, 0] - b).pow(power).mean()": {"power": 2.0},
    "def loss(power=2):\n  return lambda a, b: (a[:, 0] - b).pow(power).mean()": {"power": 2},
    "class loss:\n  def __call__(self, a, b): return (a[:, 0] - b).square().mean()": {},
    "class loss(torch.nn.Module):\n  def forward(self, a, b): return (a[:, 0] - b).square().mean()": {},
    "loss = lambda outputs, y: torch.nn.MSELoss()(outputs[:, 0], y)": {},
    "class own(torch.nn.MSELoss):\n  def forward(self, a, b): return super().forward(a[:, 0], b)\nloss = own()": {},
}


@pytest.mark.parametrize("code", LOSSES)
def test_a_loss_is_a_function_or_what_makes_one(code: str) -> None:
    named = plugin(f"import torch\n{code}\n", "loss", "loss")
    outputs, y = torch.tensor([[1.0], [2.0]], requires_grad=True), torch.tensor([3.0, 2.0])
    loss = own.make_loss(named, {"classes": 3}, LOSSES[code])
    own.check_loss(loss, outputs, y, "loss", named)
    assert loss(outputs, y).item() == 2


NO_LOSS = {
    "def loss(a, b): return 3.0": r"loss gives something of type float, not a tensor of one number. The model gives",
    "def loss(a, b): return a": r"loss gives a tensor \(2, 1\), not one number: return its mean\(\)",
    "def loss(a, b): return a.detach().sum()": r"does not depend on the outputs, so nothing is learned",
    "def loss(a, b): return a.sum() / 0": r"loss gives inf on the first batch",
    "def loss(a, b): return a + c": r"loss\(\): code.py, line 2: NameError: name 'c' is not defined",
    "def loss(a, b):\n  import sys\n  sys.exit()": r"line 4: it ends the program \(SystemExit\)",
    "def loss(): return 3": r"loss\(\) gives something of type int, not a loss",
    "def loss(a, b, gamma=2.0): return a": r"takes no 'gama'. Did you mean gamma\? It takes: gamma.",
}


@pytest.mark.parametrize("code", NO_LOSS)
def test_what_is_no_loss_is_refused(code: str) -> None:
    typed = {"gama": 1} if "gamma" in code else {}
    with fails(NO_LOSS[code]):
        named = plugin(f"import torch\n{code}\n", "loss", "loss")
        outputs = torch.ones(2, 1, requires_grad=True)
        own.check_loss(own.make_loss(named, {}, typed), outputs, torch.ones(2), "loss", named)


NO_OPTIMIZER = {
    "def opt(parameters): return 3": r"opt\(\) gives something of type int, not an optimizer \(torch.optim.Optimizer\)",
    "def opt(parameters): return torch.optim.SGD(parameters[:1])": r"leaves out bias, which would never learn",
    "def opt(parameters): return torch.optim.SGD([*parameters, torch.ones(1)])": r"holds 1 parameters that are not the",
    "def opt(): pass": r"opt\(\): code.py: TypeError|opt\(\): .*takes 0 positional arguments but 1 was given",
    "def opt(parameters, lr, betas): pass": r"opt\(\): needs 'betas'; settings give none. Type: --optimizer-arg",
}


@pytest.mark.parametrize("code", NO_OPTIMIZER)
def test_what_is_no_optimizer_of_the_model_is_refused(code: str) -> None:
    with fails(NO_OPTIMIZER[code]):
        own.make_optimizer(plugin(f"import torch\n{code}\n", "opt", "optimizer"), nn.Linear(1, 1), {"lr": 0.1}, {})


def test_an_optimizer_of_a_package_gets_the_parameters_the_rate_and_what_is_typed() -> None:
    model = nn.Linear(1, 1)
    model.bias.requires_grad_(False)
    made = own.make_optimizer(load("torch.optim:NAdam", "optimizer"), model, {"lr": 0.5}, {"weight_decay": 1})
    assert (made.param_groups[0]["lr"], made.param_groups[0]["weight_decay"]) == (0.5, 1)


CHANGES = {
    "def change(X): return X + 1": {},
    "def change(X, by=2): return X + by": {"by": 1},
    "def change(X, y): return X + 1, y": {},
    "def change(by=2):\n  return lambda X, y: (X + by, y)": {"by": 1},
    "class change:\n  def __call__(self, X): return X + 1": {},
}


@pytest.mark.parametrize("code", CHANGES)
def test_random_changes_take_x_or_both(code: str) -> None:
    change = own.make_augment(plugin(code, "change", "augment"), {}, CHANGES[code])
    X, y = change(torch.zeros(2, 3), torch.zeros(2))
    assert torch.equal(X, torch.ones(2, 3)) and torch.equal(y, torch.zeros(2))


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def change(X): return None", r"change gives nothing, not X, or X and y, of 2 examples"),
        ("def change(X): return X[:1]", r"change gives a tensor \(1, 3\), not X, or X and y"),
        ("def change(X): return X, X, X", r"change gives something of type tuple, not X"),
        ("def change(X): return X @ X", r"change\(\): code.py, line 1: RuntimeError"),
        ("def change(): return 3", r"change\(\) gives something of type int, not a function of X"),
    ],
)
def test_what_changes_a_batch_into_none_is_refused(code: str, sentence: str) -> None:
    with fails(sentence):
        own.make_augment(plugin(code, "change", "augment"), {}, {})(torch.zeros(2, 3), torch.zeros(2))


def test_the_parts_of_the_starter_fit_together_and_learn() -> None:
    for name in ("model.py", "data.py", "loss.py"):
        write(FILES[name], name)
    train, valid = own.make(load("data.py:spirals", "dataset"), {}, {})
    assert isinstance(train, TensorDataset) and len(train) + len(valid) == 3000 and len(train.classes) == 3
    X, y = train.tensors
    model = own.make_model(load("model.py:build", "model"), {"shape": (2,), "outputs": 3}, {"hidden": (32, 32)})
    loss = own.make_loss(load("loss.py:focal", "loss"), {}, {"gamma": 1.0})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def right(data: tuple[Tensor, ...]) -> float:
        return float((model(data[0]).argmax(1) == data[1]).float().mean())

    for _ in range(100):
        optimizer.zero_grad()
        loss(model(X), y).backward()
        optimizer.step()
    assert right(valid.tensors) > 0.8
    assert np.isfinite(loss(model(X), y).item())
