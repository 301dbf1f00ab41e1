"""ImageNet weights that torchvision offers, in torch's hub folder: fetched, checked, and fitted to our models.

torch.hub's own download would print on stdout, wait for ever for a silent server, and check nothing that is already
there; the folder and the names of its files are shared with it.
"""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tui_trainer.errors import ModelError
from tui_trainer.run.events import Event, Preparing
from tui_trainer.text import clean, size
from tui_trainer.training.models.zoo import find, first_of, head_of

AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""Parts of a file of weights that are for heads left out here."""
SILENCE = 20.0
"""Seconds without an answer after which a server counts as gone."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's channels, of values from 0 to 1; what the weights expect taken out."""
SHIFTED = ("googlenet", "inception_v3")
"""Models whose weights were trained on images from -1 to 1."""


def load(model: nn.Module, name: str) -> None:
    """Give `model`, built as torchvision's `name`, all its weights but those of the last layer; fetched if need be.

    Raises:
        ModelError: the weights cannot be had, are damaged, or are of another shape than the model.
    """
    for _ in fetch(name):
        pass
    file = file_of(name)
    try:
        if not _is_whole(file):
            raise ModelError(
                f"{clean(file)} is damaged: its checksum is not the one in its name. "
                "Delete it, and it is downloaded anew."
            )
        state = _offered(name).get_state_dict(check_hash=True, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{clean(file)} cannot be read as weights: {clean(error)}.\nDelete it, and it is downloaded anew."
        ) from error
    fit(model, state, name)


def fetch(name: str) -> Generator[Event, None, None]:
    """Bring the weights of the model `name` to this machine, unless they are here; how far it is, in between.

    Raises:
        ModelError: they cannot be downloaded or saved.
    """
    target, url = file_of(name), _offered(name).url
    if target.exists():
        return
    packed, expected = target.with_name(f"{target.name}.{os.getpid()}.part"), find(name).weights_bytes
    total, done, told_at = size(expected), 0, 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(packed, "wb") as file:
            request = urllib.request.Request(url, headers={"User-Agent": "tui-trainer"})
            with urllib.request.urlopen(request, timeout=SILENCE) as answer:
                while chunk := answer.read(1 << 20):
                    file.write(chunk)
                    done += len(chunk)
                    if done - told_at >= expected / 100:  # every event stays in the journal, and there are gigabytes
                        told_at = done
                        yield Preparing(what=f"downloading the weights of {name}: {size(done)} of {total}")
        if not _is_whole(packed, target.name):
            raise http.client.HTTPException("what came has another checksum")
        os.replace(packed, target)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", None) or error
        told = clean(getattr(reason, "strerror", None) or reason or type(reason).__name__, 100)
        raise ModelError(
            f"The weights of {name} ({total}) are not in {clean(target.parent)} and cannot be downloaded: {told}.\n"
            f"Download {url} on another machine and put the file there (TORCH_HOME names another folder), "
            "or train from the beginning with pretrained off."
        ) from error
    finally:
        with suppress(OSError):
            packed.unlink()


def file_of(name: str) -> Path:
    """Where the weights of the model `name` are, or would be: in torch's hub folder."""
    return Path(torch.hub.get_dir()) / "checkpoints" / str(_offered(name).url).rpartition("/")[2]


def fit(model: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Load torchvision's `state` of the model `name` into a `model` for other channels, sizes and outputs.

    With one channel a grey image gives what it gave as three equal ones; with more, each is a like part of that.
    `state` is used up.

    Raises:
        ModelError: the shapes differ elsewhere, as arguments of the model can make them.
    """
    head, first = head_of(model)[0], first_of(model)[0]
    for key in list(state):
        if key.startswith((f"{head}.", *AUXILIARY)):
            del state[key]
        elif (new := re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)) != key:
            state[new] = state.pop(key)  # densenet's files are older than its names
    if "encoder.pos_embedding" in state:
        from torchvision.models.vision_transformer import interpolate_embeddings

        state = interpolate_embeddings(model.image_size, model.patch_size, state)
    if name in SHIFTED:
        _fold(state, first)
    if (channels := first_of(model)[1].in_channels) != 3:
        weight = state[f"{first}.weight"]
        state[f"{first}.weight"] = weight.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(
            f"The weights of {name} do not fit the model as its arguments make it: leave the arguments or the weights "
            f"out. {clean(str(error).splitlines()[-1].strip())}"
        ) from error
    other = [key for key in missing if not key.startswith(f"{head}.")] + list(unexpected)
    if other:
        raise ModelError(
            f"The weights of {name} do not fit the model as its arguments make it: {clean(other[0])} is not in both."
        )


def _fold(state: dict[str, Tensor], first: str) -> None:
    """Make the first convolution in `state` take images as the other models do, with ImageNet's mean and spread taken
    out of them, instead of from -1 to 1. What torchvision switches on in the model for it is in no checkpoint."""
    weight = state[f"{first}.weight"]
    mean, spread = weight.new_tensor(IMAGENET)
    shift = weight.sum((2, 3)) @ (2 * mean - 1)  # exact but where GoogLeNet's first convolution sees its own border
    state[f"{first.removesuffix('conv')}bn.running_mean"] -= shift
    state[f"{first}.weight"] = weight * (2 * spread[:, None, None])


def _offered(name: str) -> Any:
    """torchvision's best weights for the model `name`.

    Raises:
        ModelError: there are none.
    """
    from torchvision import models  # 0.4 s, and only these models need it

    find(name)
    return models.get_model_weights(name).DEFAULT


def _is_whole(file: Path, name: str = "") -> bool:
    """True when the file has the checksum that is in its name, or no checksum is."""
    found = re.search(r"-([0-9a-f]{8,})\.", name or file.name)
    if not found:
        return True
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest().startswith(found[1])
