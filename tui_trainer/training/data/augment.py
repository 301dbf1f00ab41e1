"""Random changes of what is learned from, drawn by (seed, epoch) and the example, or the batch, alone.

So a run changes an example in the same way whatever fetches it, and wherever it is carried on.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tui_trainer.errors import ModelError
from tui_trainer.own import arguments, loading
from tui_trainer.settings.places import is_place
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.training.data.examples import Examples
from tui_trainer.training.models import own

RECIPES = 128
"""Different changes that an epoch has. All images of a batch with the same one are changed at once, which is what makes
them affordable: torchvision takes about a millisecond a call, however few images it gets."""

Policy = Callable[[Tensor], Tensor]
"""Images [B, C, H, W] uint8 -> the same, all changed alike."""


class Augment(Protocol):
    """Changes images."""

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """`images` [B, C, H, W] of the examples `indices` [B], changed for this epoch."""


class Moves:
    """Random mirroring and moving of images, drawn for each example."""

    def __init__(self, kind: str, examples: int, seed: int, device: torch.device) -> None:
        """`kind` is one of the setting's words: flip, crop, flip_crop."""
        self._flips, self._moves = "flip" in kind, "crop" in kind
        self._examples, self._seed, self._device = examples, seed, device
        self._epoch, self._draws = 0, torch.empty(0)

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = generator_of(self._seed ^ 0x5EED, epoch)
            self._draws = torch.rand(self._examples, 3, generator=generator).to(self._device)
            self._epoch = epoch
        flip, down, right = self._draws[indices.to(self._draws.device)].to(images.device).unbind(1)
        if self._flips:
            images = torch.where((flip < 0.5)[:, None, None, None], images.flip(3), images)
        return self._moved(images, down, right) if self._moves else images

    def _moved(self, images: Tensor, down: Tensor, right: Tensor) -> Tensor:
        """A window of the same size cut out at a random place of the images with a border: RandomCrop(padding)."""
        examples, _, height, width = images.shape
        border = max(1, min(height, width) // 8)
        place = torch.arange(examples, device=images.device)[:, None, None]
        rows = (down * (2 * border + 1)).long()[:, None] + torch.arange(height, device=images.device)
        columns = (right * (2 * border + 1)).long()[:, None] + torch.arange(width, device=images.device)
        window = F.pad(images, [border] * 4)[place, :, rows[:, :, None], columns[:, None, :]]
        return window.permute(0, 3, 1, 2)


class Recipes:
    """torchvision's policies: each example gets one of an epoch's `RECIPES`, a policy with its draws made.

    A policy draws from torch's global generator, once for all images that it gets: the generator is set for each
    recipe and put back where it was.
    """

    def __init__(self, policy: Policy, examples: int, seed: int, before: Augment | None = None) -> None:
        """`before` changes the images that the policy gets."""
        self._policy, self._examples, self._seed, self._before = policy, examples, seed, before
        self._epoch = 0

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        if epoch != self._epoch:
            drawn = np.random.default_rng((0xA06, self._seed, epoch))
            self._seeds = drawn.integers(2**32, size=RECIPES).tolist()
            self._recipes = torch.from_numpy(drawn.integers(RECIPES, size=self._examples))
            self._epoch = epoch
        if self._before is not None:
            images = self._before(images, indices, epoch)
        changed, mine = torch.empty_like(images), self._recipes[indices.cpu()]
        with rested_generator() as generator:
            for recipe in torch.unique(mine).tolist():
                members = (mine == recipe).nonzero()[:, 0].to(images.device)
                generator.manual_seed(self._seeds[recipe])
                changed[members] = self._policy(images[members])
        return changed


@contextmanager
def rested_generator() -> Iterator[torch.Generator]:
    """torch's global generator on the CPU, which is put back where it was."""
    before = torch.get_rng_state()
    try:
        yield torch.default_generator
    finally:
        torch.set_rng_state(before)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """All global generators begin at `seed`, and are put back where they were."""
    python, numpy, cuda = random.getstate(), np.random.get_state(), device.type == "cuda"
    before = torch.cuda.get_rng_state(device) if cuda else None
    with rested_generator() as generator:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        generator.manual_seed(seed)
        if before is not None:
            torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            if before is not None:
                torch.cuda.set_rng_state(before, device)


def seed_of_batch(seed: int, epoch: int, batch: int) -> int:
    """What the random numbers of one batch begin with."""
    return int(np.random.default_rng((0x0B7, seed, epoch, batch)).integers(2**32))


def generator_of(seed: int, epoch: int) -> torch.Generator:
    """Random numbers of one epoch, the same on every device and in every process."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)


POLICIES = ("rand_augment", "trivial_augment", "auto_augment")
"""torchvision's, by the words of the setting."""


def make(settings: Settings, examples: Examples, device: torch.device) -> Augment | None:
    """The random changes of the settings for these examples; None when there are none, or they are the user's own.

    Raises:
        ModelError: they do not fit the examples, or do not take the arguments.
    """
    kind, seed, shape = settings.augment, settings.seed or 0, examples.shape
    if is_place(kind):
        return None
    typed = arguments.arguments(settings.augment_arg, "--augment-arg")
    given = {word: typed.pop(word) for word in ("flip", "crop") if kind in POLICIES and word in typed}
    if wrong := [word for word, value in given.items() if not isinstance(value, bool)]:
        raise ModelError(f"augment {kind}: {' and '.join(wrong)} must be true or false.")
    moves = [word for word, yes in given.items() if yes]
    policy = policy_of(kind, typed)
    if kind == "none":
        return None
    if len(shape) != 3:
        raise ModelError(f"augment {kind} changes images, and these data hold none. Set it to none.")
    if policy is None:
        return Moves(kind, len(examples), seed, device)
    image, _ = examples.raw(torch.arange(1))
    if image.dtype != torch.uint8 or shape[0] not in (1, 3):
        found = f"of {shape[0]} channels" if image.dtype == torch.uint8 else "that are not bytes"
        raise ModelError(f"augment {kind} cannot change images {found}: it takes bytes of 1 or 3. Use flip_crop.")
    if problem := try_out(policy, image):
        words = f" with {clean(settings.augment_arg, 80)}" if settings.augment_arg else ""
        raise ModelError(f"augment {kind} cannot be used{words}: {problem}.")
    cpu = torch.device("cpu")  # workers that were forked cannot use another
    before = Moves("_".join(moves), len(examples), seed, cpu) if moves else None
    return Recipes(policy, len(examples), seed, before)


def make_own(settings: Settings) -> own.Change | None:
    """The user's own random changes of a batch; None when the settings name none.

    Raises:
        ModelError: his code fails.
    """
    if not is_place(settings.augment):
        return None
    typed = arguments.arguments(settings.augment_arg, "--augment-arg")
    return own.make_augment(loading.load(settings.augment, "augment"), {"settings": settings}, typed)


def policy_of(kind: str, typed: dict[str, object]) -> Policy | None:
    """torchvision's policy of that name with the arguments that were `typed`; None for a word that is none of them.

    Raises:
        ModelError: it does not take them.
    """
    if kind not in POLICIES:
        if typed:
            raise ModelError(f"augment {kind} takes no arguments; found {clean(', '.join(typed), 80)}.")
        return None
    from torchvision.transforms import InterpolationMode, v2  # 0.4 s

    def auto_augment(
        policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet",
        interpolation: Any = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> Policy:
        made: Policy = v2.AutoAugment(v2.AutoAugmentPolicy(policy), interpolation, fill)
        return made

    modes = {mode.value: mode for mode in InterpolationMode}
    if (word := typed.get("interpolation")) in modes:
        typed["interpolation"] = modes[str(word)]  # torchvision 0.26 and before do not take the word itself
    makers = dict(zip(POLICIES, (v2.RandAugment, v2.TrivialAugmentWide, auto_augment), strict=True))
    policy: Policy = arguments.call(makers[kind], {}, typed, shown=kind, flag="--augment-arg")
    return policy


def try_out(policy: Policy, images: Tensor) -> str:
    """What keeps a policy from using its arguments, which it looks at when it draws; nothing when it can."""
    with rested_generator() as generator:
        for seed in range(16):
            generator.manual_seed(seed)
            try:
                policy(images)
            except IndexError:
                return "magnitude must be below num_magnitude_bins"
            except Exception as error:
                return clean(str(error).strip().split("\n")[0], 200).rstrip(".")
    return ""
