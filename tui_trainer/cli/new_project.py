"""`tui-trainer new`: a small project of the user's own to begin with, all that a run can be given in ten lines each."""

import hashlib
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tui_trainer.errors import FolderError, UsageError
from tui_trainer.own import trust
from tui_trainer.settings.schema import CONFIG_NAME
from tui_trainer.text import clean

MODEL = '''\
"""The model: a function or class that gives a torch.nn.Module."""

from torch import nn


def build(shape, outputs, hidden=(64, 64), dropout=0.0):
    """`shape` is that of one example, such as (2,) or (1, 28, 28); `outputs` is how many numbers come out."""
    width, layers = 1, [nn.Flatten()]
    for size in shape:
        width *= size
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(dropout)]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, outputs))
'''

DATA = '''\
"""The data: a function or class that gives a data set, or (train, valid), or (train, valid, test)."""

import math

import torch
from torch.utils.data import TensorDataset


def spirals(examples=3000, noise=0.15, seed=0):
    """Points on three spirals, x [2] float; the class y is which spiral. Replace this by your own examples."""
    random = torch.Generator().manual_seed(seed)
    y = torch.arange(examples) % 3
    along = torch.rand(examples, generator=random)
    angle = 4 * along + y * 2 * math.pi / 3 + noise * torch.randn(examples, generator=random)
    x = torch.stack([along * angle.cos(), along * angle.sin()], dim=1)
    held_out = torch.rand(examples, generator=random) < 0.2
    train, valid = TensorDataset(x[~held_out], y[~held_out]), TensorDataset(x[held_out], y[held_out])
    train.classes = ["first", "second", "third"]
    return train, valid
'''

LOSS = '''\
"""The loss: a function of outputs and y that gives one number, or a function or class that makes one."""

import torch.nn.functional as F


def focal(outputs, y, gamma=2.0):
    """Cross-entropy in which examples that are right already count less; gamma 0 is plain cross-entropy."""
    each = F.cross_entropy(outputs, y, reduction="none")
    return ((1 - (-each).exp()) ** gamma * each).mean()
'''

SETTINGS = """\
# What `tui-trainer` does in this folder. A flag that is typed wins: tui-trainer --lr 0.003
# All there is to set: tui-trainer --print-config
dataset = "data.py:spirals"
model = "model.py:build"
loss = "loss.py:focal"
batch_size = 64
lr = 0.01
epochs = 20
"""

README = """\
# A model of your own

| file | what it is |
|---|---|
| `model.py` | the model: `build(shape, outputs)` gives a `torch.nn.Module` |
| `data.py` | the data: `spirals()` gives a training and a validation set |
| `loss.py` | the loss: `focal(outputs, y)` gives one number |
| `tui-trainer.toml` | the settings that use them |

```
tui-trainer                                       the form, with these settings; Run trains
tui-trainer --start                               straight to the run screen
tui-trainer --no-ui                               the same run as plain lines
tui-trainer --no-ui --model-arg hidden=128,128    other arguments of build()
tui-trainer --no-ui --loss cross_entropy          a loss that is part of the program
tui-trainer runs                                  what has been trained here
tui-trainer attach last                           the newest run on the screen
```

When you have changed a file, the settings name code that has not run here before, and you are asked once: on the
screen, or by a sentence with the words to type (`--trust-plugin`, with the beginning of the file's SHA-256). A file
named on the command line needs no question:

```
tui-trainer --no-ui --model model.py:build --dataset data.py:spirals --loss loss.py:focal
```

What the parts may be:

- **Model**: a function or class that gives a `torch.nn.Module`. Of `shape`, `outputs` and `classes` it gets those that
  it has parameters for; everything else that it takes is set with `--model-arg name=value`.
- **Data**: a map-style data set of `(x, y)`, or `(train, valid)`, or `(train, valid, test)`, or pairs of arrays
  `(X, y)`. x is a tensor, array or image: `[features]` or `[channels, height, width]`. y is a class number, a number or
  several for regression, or zeros and ones for several labels at once. A list `classes` on it names the classes.
- **Loss**: `loss(outputs, y)`, or a class or function that makes it.
- **Optimizer** (`--optimizer file.py:Name`): called with the parameters and `lr=`; gives a `torch.optim.Optimizer`.
- **Augmentation** (`--augment file.py:Name`): `augment(X)` gives X, or `augment(X, y)` gives both, changed at random.

A file is run as it is, with your rights: nothing keeps it from anything. It cannot import the files beside it; what
needs several files is a package, installed with `pip install -e .` and named `package.module:Name`.
"""

FILES = {"model.py": MODEL, "data.py": DATA, "loss.py": LOSS, CONFIG_NAME: SETTINGS, "README.md": README}


def new_command(
    folder: Annotated[str, Parameter(help="Where to put it; made when it is not there.")] = ".",
    /,
) -> int:
    """A small project to begin with: a model, a data set and a loss of your own, settings that use them, a README."""
    for path in write(Path(folder)):
        print(f"wrote {clean(path)}")
    print(next_command(folder), file=sys.stderr)
    return 0


def write(folder: Path) -> list[Path]:
    """Write the project into `folder`; the paths. Its code is known from then on, as if it had been named.

    Raises:
        UsageError: one of the files is there already; then none is written.
        FolderError: the folder cannot be made or written.
    """
    folder = folder.expanduser()
    paths = {folder / name: text.encode() for name, text in FILES.items()}
    there = [path.name for path in paths if os.path.lexists(path)]
    if there:
        raise UsageError(
            f"{clean(folder)} holds {', '.join(there)} already. Nothing was written. Name a folder that is new: "
            "tui-trainer new my-project"
        )
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for path, content in paths.items():
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
                file.write(content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the path cannot be used"
        raise FolderError(f"{clean(folder)} cannot be written: {reason}.") from None
    for path, content in paths.items():
        if path.suffix == ".py":
            trust.remember(hashlib.sha256(content).hexdigest(), path.resolve())
    return list(paths)


def next_command(folder: str) -> str:
    """What to type after that."""
    change = "" if folder == "." else f"cd {clean(shlex.quote(folder))} && "
    return f"Train it with: {change}tui-trainer"
