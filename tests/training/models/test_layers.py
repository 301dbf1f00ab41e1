"""The rows of a model's layers add up to the model, however its parts are put together."""

import pytest
import torch
from torch import Tensor, nn

from tui_trainer.catalog.zoo import ZOO
from tui_trainer.training.models import count, zoo
from tui_trainer.training.models.layers import layers_of


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_t", "swin_v2_t", "vit_b_32", "maxvit_t", "googlenet"])
def test_every_trainable_number_is_in_one_row(name: str) -> None:
    shape = (1, ZOO[name].least, ZOO[name].least)
    model = zoo.sketch(name, shape, 10)
    assert sum(parameters for _, _, parameters in layers_of(model, shape)) == count(model)


def test_what_a_layer_computes_with_the_weights_of_its_parts_is_its_own() -> None:
    rows = layers_of(zoo.sketch("vit_b_32", (1, 32, 32), 10), (1, 32, 32))
    assert ("MultiheadAttention", "2 x 768", 4 * 768 * 769) in rows
    assert rows[0] == ("Conv2d", "768 x 1 x 1", 768 * (32 * 32 + 1))
    assert rows[-2:] == (("Linear", "10", 7_690), ("VisionTransformer", "10", 768))


class Odd(nn.Module):
    """A part used twice, one never, one frozen, and weights beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.twice = nn.Linear(4, 4)
        self.never = nn.Linear(9, 9)
        self.frozen = nn.Linear(4, 4).requires_grad_(False).eval()

    def forward(self, X: Tensor) -> dict[str, Tensor]:
        return {"pred": self.frozen(self.twice(self.twice(X.flatten(1)))) * self.scale}


def test_parts_used_twice_never_or_frozen_and_outputs_of_any_kind() -> None:
    model = Odd()
    rows = layers_of(model, (1, 2, 2))
    assert rows == (("Linear", "4", 20), ("Linear", "4", 0), ("Linear", "4", 0), ("Odd", "", 1 + 90))
    assert model.training and model.twice.training and not model.frozen.training
    assert not any(module._forward_hooks for module in model.modules())
