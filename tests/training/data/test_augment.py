"""Random changes are torchvision's, other ones for each image, and the same wherever a run is carried on."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from tests.training.data.test_batches import images
from tests.training.plain_loop import only, prepared
from tests.training.saving.test_resume import Broken, differences, prompt_disk  # noqa: F401
from tui_trainer.errors import ModelError
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import BatchTrained
from tui_trainer.settings.schema import Settings
from tui_trainer.training.data import augment, batches
from tui_trainer.training.data.augment import POLICIES, Recipes
from tui_trainer.training.data.batches import Loader, Order, Resident
from tui_trainer.training.data.examples import Tensors
from tui_trainer.training.loop import fit

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LOOK", 60.0)


def changed(data: Tensors, indices: Tensor, epoch: int = 1, seed: int = 5, kind: str = "rand_augment") -> Tensor:
    policy = augment.policy_of(kind, {})
    assert policy is not None
    return Recipes(policy, len(data), seed)(data.inputs[indices], indices, epoch)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", POLICIES)
def test_each_image_is_changed_as_torchvision_changes_it_alone(kind: str, channels: int) -> None:
    data, all_of_them = images(40, channels), torch.arange(40)
    policy = {"rand": v2.RandAugment(), "triv": v2.TrivialAugmentWide(), "auto": v2.AutoAugment()}[kind[:4]]
    recipes = Recipes(policy, 40, 5)
    together = recipes(data.inputs, all_of_them, 1)
    for index in range(40):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipes._seeds[recipes._recipes[index]])
            assert torch.equal(policy(data.inputs[index]), together[index])
    assert together.dtype == torch.uint8 and together.shape == data.inputs.shape


def test_the_images_of_a_batch_are_changed_in_many_ways() -> None:
    one = images(1).inputs.expand(64, -1, -1, -1)
    after = changed(Tensors(one, torch.zeros(64)), torch.arange(64))
    assert len({image.numpy().tobytes() for image in after}) > 30


@pytest.mark.parametrize("kind", POLICIES)
def test_a_change_depends_on_seed_epoch_and_example_and_not_on_the_batch(kind: str) -> None:
    data, some = images(60), torch.tensor([59, 3, 17, 20, 41])
    whole = changed(data, torch.arange(60), epoch=4, kind=kind)
    torch.manual_seed(99)
    assert torch.equal(changed(data, some, epoch=4, kind=kind), whole[some])
    assert not torch.equal(changed(data, some, epoch=5, kind=kind), whole[some])
    assert not torch.equal(changed(data, some, epoch=4, seed=6, kind=kind), whole[some])


def test_random_numbers_elsewhere_go_on_as_without_it() -> None:
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    changed(images(20), torch.arange(20))
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("workers", [0, 2])
def test_both_data_paths_give_the_same_batches_from_the_middle_of_an_epoch_too(workers: int) -> None:
    data = images(100)
    recipes = Recipes(v2.RandAugment(), 100, 3)
    fetched = Loader(data, Order(100, 16, seed=3), CPU, workers=workers, mp_context="auto", augment=recipes)
    resident = Resident(data, Order(100, 16, seed=3), CPU, augment=Recipes(v2.RandAugment(), 100, 3))
    for epoch, first in ((1, 0), (2, 0), (2, 3), (1, 4)):
        for part in (fetched, resident):
            part.order.epoch, part.order.first = epoch, first
        pairs = list(zip(fetched, resident, strict=True))
        assert len(pairs) == 7 - first
        assert all(torch.equal(X, X_too) and torch.equal(y, y_too) for (X, y), (X_too, y_too) in pairs)
    fetched.close()


@pytest.mark.parametrize("kind", POLICIES)
def test_a_run_that_was_broken_off_is_carried_on_with_the_same_images(
    tiny: Settings, tmp_path: Path, kind: str
) -> None:
    used = {"augment": kind, "save_interval": 1e-9, "limit_train_batches": 3, "batch_size": 16, "valid_fraction": 0.9}
    settings = Settings(**(tiny.model_dump() | used))
    whole, broken = Broken(settings, tmp_path / "whole"), Broken(settings, tmp_path / "broken")
    whole.go()
    broken.go(kill_at=2)
    broken.go(kill_at=4, data_path="loader")
    broken.go(data_path="loader", workers=1)
    assert broken.losses() == whole.losses() and differences(whole.outcome(), broken.outcome()) == []


def test_images_can_be_mirrored_and_moved_before_the_policy(tiny: Settings) -> None:
    data, some = images(40), torch.tensor([39, 3, 17])
    settings = tiny.model_copy(update={"augment": "rand_augment", "augment_arg": "num_ops=1 flip=true crop=true"})
    both = augment.make(settings, data, CPU)
    moved = augment.Moves("flip_crop", 40, 0, CPU)(data.inputs[some], some, 2)
    assert both is not None and not torch.equal(moved, data.inputs[some])
    assert torch.equal(
        both(data.inputs[some], some, 2),
        Recipes(v2.RandAugment(num_ops=1), 40, 0)(moved, some, 2),
    )
    flips_not = settings.model_copy(update={"augment_arg": "num_ops=0 flip=false"})
    made = augment.make(flips_not, data, CPU)
    assert made is not None and torch.equal(made(data.inputs[some], some, 2), data.inputs[some])


def test_arguments_reach_the_policy(tiny: Settings) -> None:
    data = images(8, 3)
    none_at_all = tiny.model_copy(update={"augment": "rand_augment", "augment_arg": "num_ops=0"})
    made = augment.make(none_at_all, data, CPU)
    assert made is not None and torch.equal(made(data.inputs, torch.arange(8), 1), data.inputs)
    for words in ("num_ops=1 magnitude=3 interpolation=bilinear fill=127", "fill=1,2,3"):
        assert augment.make(none_at_all.model_copy(update={"augment_arg": words}), data, CPU)
    by_name = augment.policy_of("auto_augment", {"policy": "cifar10"})
    assert isinstance(by_name, v2.AutoAugment) and by_name.policy == v2.AutoAugmentPolicy.CIFAR10


@pytest.mark.parametrize(
    ("kind", "words", "says"),
    [
        ("rand_augment", "magnitud=3", r"rand_augment\(\): takes no 'magnitud'\. Did you mean magnitude\?"),
        ("rand_augment", "magnitude=high", r"rand_augment\(\): 'magnitude' must be a whole number, found 'high'"),
        (
            "rand_augment",
            "magnitude=31",
            r"augment rand_augment cannot be used with magnitude=31: magnitude must be below",
        ),
        ("trivial_augment", "interpolation=lanczos", r"augment trivial_augment cannot be used with inter.*: .*lanczos"),
        ("auto_augment", "policy=mnist", r"'policy' must be one of 'imagenet', 'cifar10', 'svhn', found 'mnist'"),
        ("rand_augment", "flip=yes crop=0.5", r"augment rand_augment: flip and crop must be true or false"),
        ("flip", "p=0.5", r"augment flip takes no arguments; found p\."),
        ("none", "p=0.5", r"augment none takes no arguments"),
    ],
)
def test_what_a_policy_does_not_take_is_a_sentence(tiny: Settings, kind: str, words: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        augment.make(tiny.model_copy(update={"augment": kind, "augment_arg": words}), images(4), CPU)


def test_what_does_not_fit_the_data_is_a_sentence(tiny: Settings) -> None:
    rows = Tensors(torch.rand(4, 3), torch.zeros(4, dtype=torch.int64))
    for kind in ("flip", "rand_augment"):
        with pytest.raises(ModelError, match=f"augment {kind} changes images, and these data hold none"):
            augment.make(tiny.model_copy(update={"augment": kind}), rows, CPU)
    floats = Tensors(torch.rand(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))
    for data, found in ((images(4, channels=4), "of 4 channels"), (floats, "that are not bytes")):
        with pytest.raises(ModelError, match=f"augment rand_augment cannot change images {found}"):
            augment.make(tiny.model_copy(update={"augment": "rand_augment"}), data, CPU)


# --- the user's own ------------------------------------------------------------------------------------------------


def noisy(X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Draws from everything that draws."""
    assert X.min() >= 0 and X.max() <= 1  # not normalised yet
    shift = random.random() + float(np.random.rand())
    return X + torch.rand(len(X), 1, 1, 1) + shift, (y + 1) % 100


@pytest.mark.parametrize("workers", [0, 2])
def test_changes_of_the_users_own_begin_anew_for_each_batch(workers: int) -> None:
    data, used = images(100), {"own_augment": noisy, "mean": (0.5,), "std": (0.25,)}
    fetched = Loader(data, Order(100, 16, seed=3), CPU, workers=workers, mp_context="auto", **used)
    resident = Resident(data, Order(100, 16, seed=3), CPU, **used)
    wanted = list(resident)
    for batch, (X, y) in enumerate(wanted, 1):
        indices = list(resident.order)[batch - 1]
        with augment.seeded(augment.seed_of_batch(3, 1, batch), CPU):
            X_plain, y_plain = noisy(data[indices][0], data[indices][1])
        assert torch.allclose(X, (X_plain - 0.5) / 0.25) and torch.equal(y, y_plain)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    for first in (0, 4):
        fetched.order.first = resident.order.first = first
        for part in (fetched, resident):
            pairs = zip(part, wanted[first:], strict=True)
            assert all(torch.equal(X, X_too) and torch.equal(y, y_too) for (X, y), (X_too, y_too) in pairs)
    assert before[:2] == (random.getstate(), np.random.get_state()[1].tolist())
    assert torch.equal(before[2], torch.get_rng_state())
    fetched.close()


def test_examples_that_are_overfitted_are_not_changed(tiny: Settings) -> None:
    used = {"augment": "rand_augment", "overfit_batches": 2, "limit_train_batches": 0, "epochs": 1}
    plain = [e.loss for e in only(BatchTrained, fit(tiny.model_copy(update=used | {"augment": "none"}), Inbox()))]
    for path in ({"data_path": "resident"}, {"data_path": "loader"}):
        events = list(fit(tiny.model_copy(update=used | path), Inbox()))
        assert [e.loss for e in only(BatchTrained, events)] == plain


def test_what_is_measured_is_not_changed(tiny: Settings) -> None:
    course = prepared(tiny.model_copy(update={"augment": "trivial_augment"}))
    X, _ = next(iter(course.valid_batches))
    assert torch.equal(X, course.splits.valid.inputs[: len(X)].float() / 255)
