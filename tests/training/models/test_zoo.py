"""torchvision's models: what is known of them without torch holds, and each of them learns from our images."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

from tests.faults.scale import many
from tui_trainer.catalog.zoo import ZOO
from tui_trainer.errors import ModelError
from tui_trainer.training.models import count, zoo

NAMES = models.list_models(module=models)
FAMILIES = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18",
    "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn", "vit_b_32",
]  # fmt: skip
DRAWING = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5",
    "mobilenet_v2", "regnet_x_400mf", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "vit_b_32",
]  # fmt: skip
SMALL = ["squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "mobilenet_v3_small", "regnet_x_400mf", "resnet18"]


def step(model: nn.Module, shape: tuple[int, int, int], device: str) -> torch.Tensor:
    """The loss of one step on a batch of two, forward, backward and down."""
    X, y = torch.rand(2, *shape, device=device), torch.zeros(2, dtype=torch.long, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    pred = model(X)
    assert isinstance(pred, torch.Tensor) and pred.shape == (2, 10)
    loss = F.cross_entropy(pred, y)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in model.parameters())
    optimizer.step()
    return loss.detach()


@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_the_parameters_that_are_known_of_it_without_torch(name: str) -> None:
    assert name in ZOO, "run scripts/zoo_facts.py"
    facts = ZOO[name]
    shape = (1, facts.side(60), facts.side(60))
    assert count(zoo.sketch(name, shape, 7)) == facts.parameters(shape, 7)


def test_what_is_known_of_the_weights_is_what_torchvision_says() -> None:
    assert list(ZOO) == NAMES
    for name, facts in ZOO.items():
        offered = models.get_model_weights(name).DEFAULT
        assert facts.weights_bytes == round(offered.meta["_file_size"] * 2**20)
        assert (facts.weights_side,) == tuple(offered.transforms().crop_size)
        assert bool(facts.license) == ("license" in offered.meta)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_made_for_grey_and_coloured_images_and_a_step_goes_through_it_at_its_least_side(name: str) -> None:
    least = ZOO[name].least
    for shape in ((3, least, least), (1, least, least)):
        model = zoo.sketch(name, shape, 10)
        assert count(model) == ZOO[name].parameters(shape, 10)
    step(model, shape, "meta")


@pytest.mark.parametrize("name", NAMES if many(0, 1) else SMALL)
def test_a_real_step_is_learnt_from_and_smaller_images_really_do_not_fit(name: str) -> None:
    facts = ZOO[name]
    for channels in (1, 3):
        shape = (channels, facts.least, facts.least)
        torch.manual_seed(0)
        model = None  # the largest is 2.5 GB, and must not be there twice
        model = zoo.build(name, shape, 10)
        assert count(model) == facts.parameters(shape, 10)
        assert math.isfinite(step(model, shape, "cpu"))
    if facts.least_alone > facts.least:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            model(torch.rand(1, 3, facts.least_alone - 1, facts.least_alone - 1))
    model(torch.rand(1, 3, facts.least_alone, facts.least_alone))
    if facts.least > 1 and facts.step == 1:
        with pytest.raises((RuntimeError, ValueError)):
            model(torch.rand(2, 3, facts.least - 1, facts.least - 1))


def earlier_resnet18(channels: int, outputs: int) -> nn.Module:
    """As runs trained it that were begun before all of torchvision's models were there; they must be resumable."""
    model = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=outputs)
    if channels != 3:
        model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return model  # type: ignore[no-any-return]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_resnet18_is_to_the_bit_the_one_that_earlier_runs_trained(channels: int) -> None:
    torch.manual_seed(3)
    before = earlier_resnet18(channels, 7).state_dict()
    random = torch.get_rng_state()
    torch.manual_seed(3)
    now = zoo.build("resnet18", (channels, 28, 28), 7).state_dict()
    assert list(now) == list(before) and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(now[key], before[key]) for key in now)


@pytest.mark.parametrize("name", DRAWING)
def test_the_first_convolution_is_drawn_as_torchvision_draws_it(name: str) -> None:
    torch.manual_seed(0)
    side = ZOO[name].side(32)
    model = zoo.build(name, (3, side, side), 10)
    theirs = zoo.first_of(model)[1]
    zoo.replace_first(model, 3)
    ours = zoo.first_of(model)[1]
    assert ours is not theirs and ours.weight.shape == theirs.weight.shape
    assert abs(ours.weight.std() / theirs.weight.std() - 1) < 3 / theirs.weight.numel() ** 0.5
    assert abs(ours.weight.abs().max() / theirs.weight.abs().max() - 1) < 0.4  # uniform, normal or cut
    assert (ours.bias is None) == (theirs.bias is None)
    if ours.bias is not None:
        assert bool(ours.bias.any()) == bool(theirs.bias.any())


def test_the_same_seed_gives_the_same_weights_and_no_other_random_numbers_are_used() -> None:
    import random

    import numpy as np

    python, numpy = random.getstate(), np.random.get_state()[1].copy()
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(zoo.build("mnasnet0_5", (4, 32, 32), 3).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert random.getstate() == python and (np.random.get_state()[1] == numpy).all()


def test_arguments_reach_torchvisions_function() -> None:
    model = zoo.sketch("mobilenet_v3_small", (3, 32, 32), 10, dropout=0.45)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.45]


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "sentence"),
    [
        ("vgg11", (1, 28, 28), {}, r"vgg11 takes images from 32 x 32 pixels, .* are 28 x 28\. .*--image-size 32"),
        ("vgg11", (1, 28, 64), {}, r"--image-size 64"),
        ("vit_b_16", (1, 28, 28), {}, r"square images with sides of multiples of 16 .*--image-size 32"),
        ("vit_b_16", (1, 32, 48), {}, r"square images .*32 x 48.*--image-size 48"),
        ("maxvit_t", (3, 96, 96), {}, r"multiples of 224 .*--image-size 224"),
        ("inception_v3", (3, 32, 32), {}, r"takes images from 75 x 75"),
        ("resnet19", (3, 32, 32), {}, r"no classification model resnet19 .*Did you mean resnet\d+\?"),
        ("mobilenet_v2", (3, 32, 32), {"drop_out": 0.1}, r"cannot be built with drop_out=0.1: .*mean dropout"),
        ("mobilenet_v2", (3, 32, 32), {"num_classes": 3}, r"num_classes comes from the images"),
        ("googlenet", (3, 32, 32), {"aux_logits": True}, r"aux_logits is set by the program"),
        ("resnet18", (3, 32, 32), {"groups": 2}, r"resnet18 cannot be built with groups=2: BasicBlock only supports"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_a_sentence_that_says_what_to_do(
    name: str, shape: tuple[int, int, int], arguments: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ModelError, match=sentence):
        zoo.build(name, shape, 10, **arguments)


def test_a_single_example_left_over_is_told_before_it_is_met() -> None:
    small = ZOO["resnet18"].refuses((1, 28, 28), batch=1)
    assert "one example of 28 x 28 pixels" in small and "--batch-size" in small and "--image-size 33" in small
    assert not ZOO["resnet18"].refuses((1, 33, 33), batch=1) and not ZOO["resnet18"].refuses((1, 28, 28))
    assert not ZOO["squeezenet1_1"].refuses((1, 28, 28), batch=1)
