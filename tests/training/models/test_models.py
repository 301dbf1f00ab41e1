"""The models are what the catalog says of them before torch is there."""

import pytest
import torch
from torch import nn

from tui_trainer.catalog import DATASETS, MODELS
from tui_trainer.catalog.zoo import ZOO
from tui_trainer.run.commands import Inbox
from tui_trainer.run.events import RunStarted
from tui_trainer.settings.schema import Settings, choices_of
from tui_trainer.training import models
from tui_trainer.training.loop import fit
from tui_trainer.training.models import count
from tui_trainer.training.models.layers import layers_of


def build(name: str, shape: tuple[int, ...], outputs: int) -> nn.Module:
    return models.build(Settings(model=name), shape, outputs)


SHAPES = [((1, 28, 28), 10), ((3, 32, 32), 100), ((1, 29, 31), 7)]


@pytest.mark.parametrize(("shape", "classes"), SHAPES)
@pytest.mark.parametrize("name", MODELS)
def test_the_catalog_counts_the_parameters_that_the_model_has(
    name: str, shape: tuple[int, int, int], classes: int
) -> None:
    model = build(name, shape, classes)
    real = sum(p.numel() for p in model.parameters())
    assert MODELS[name].parameters(shape, classes) == real == count(model)
    assert model(torch.rand(3, *shape)).shape == (3, classes)


def test_every_model_and_data_set_that_can_be_set_is_in_the_catalog() -> None:
    assert set(choices_of("model")) == {*MODELS, *ZOO}
    assert set(choices_of("dataset")) == set(DATASETS)


def test_the_mlp_is_the_tutorials_network() -> None:
    model = build("mlp", (1, 28, 28), 10)
    assert [type(layer) for layer in model] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [(m.in_features, m.out_features) for m in model if isinstance(m, nn.Linear)] == [
        (784, 512),
        (512, 512),
        (512, 10),
    ]
    assert MODELS["mlp"].outline((1, 28, 28), 10) == "784-512-512-10"


def test_layers_of_names_every_layer_in_order_with_its_output_and_its_own_parameters() -> None:
    assert layers_of(build("mlp", (1, 28, 28), 10), (1, 28, 28)) == (
        ("Flatten", "784", 0),
        ("Linear", "512", 784 * 512 + 512),
        ("ReLU", "512", 0),
        ("Linear", "512", 512 * 512 + 512),
        ("ReLU", "512", 0),
        ("Linear", "10", 5_130),
    )
    assert layers_of(build("cnn", (1, 28, 28), 10), (1, 28, 28)) == (
        ("Conv2d", "32 x 28 x 28", 320),
        ("ReLU", "32 x 28 x 28", 0),
        ("MaxPool2d", "32 x 14 x 14", 0),
        ("Conv2d", "64 x 14 x 14", 18_496),
        ("ReLU", "64 x 14 x 14", 0),
        ("MaxPool2d", "64 x 7 x 7", 0),
        ("Flatten", "3136", 0),
        ("Linear", "128", 401_536),
        ("ReLU", "128", 0),
        ("Dropout", "128", 0),
        ("Linear", "10", 1_290),
    )


def test_looking_at_the_layers_changes_neither_the_model_nor_the_random_numbers() -> None:
    model = build("cnn", (1, 28, 28), 10)
    model.train()
    weights, random = [p.clone() for p in model.parameters()], torch.get_rng_state()
    layers_of(model, (1, 28, 28))
    assert model.training and all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(old, new) for old, new in zip(weights, model.parameters(), strict=True))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", MODELS)
def test_a_run_tells_the_model_it_trains(tiny: Settings, name: str) -> None:
    events = fit(tiny.model_copy(update={"model": name, "model_arg": ""}), Inbox())
    started = next(event for event in events if isinstance(event, RunStarted))
    assert started.parameters == MODELS[name].parameters((1, 28, 28), 10)
    assert sum(parameters for _, _, parameters in started.layers) == started.parameters
