"""What each loss function says of itself, held against the formula written out number by number."""

import math

import pytest
import torch
from torch import Tensor, nn

from tui_trainer.settings.schema import choices_of
from tui_trainer.training.step.losses import LOSSES, targets

SMOOTHINGS = (0.0, 0.1, 0.7)
OUTPUTS = torch.tensor([[2.0, -1.0, 0.5, 0.0], [-3.0, 0.25, 4.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 3, 1])
N, C = OUTPUTS.shape


def target(n: int, c: int, smoothing: float) -> float:
    """1 - s at the class, and s spread evenly over all classes."""
    return (1 - smoothing if LABELS[n] == c else 0) + smoothing / C


def probability(n: int, c: int) -> float:
    exponents = [math.exp(x) for x in OUTPUTS[n].tolist()]
    return exponents[c] / sum(exponents)


def mean_over_examples(smoothing: float, term: object, parts: int = 1) -> float:
    return sum(term(target(n, c, smoothing), n, c) for n in range(N) for c in range(C)) / N / parts


def cross_entropy(t: float, n: int, c: int) -> float:
    return -t * math.log(probability(n, c))


def squared(t: float, n: int, c: int) -> float:
    return (t - probability(n, c)) ** 2


def absolute(t: float, n: int, c: int) -> float:
    return abs(t - probability(n, c))


def yes_or_no(t: float, n: int, c: int) -> float:
    yes = 1 / (1 + math.exp(-OUTPUTS[n, c].item()))
    return -t * math.log(yes) - (1 - t) * math.log(1 - yes)


def divergence(t: float, n: int, c: int) -> float:
    return t * math.log(t / probability(n, c)) if t else 0.0


FORMULAS = {
    "cross_entropy": (cross_entropy, 1),
    "mse": (squared, C),
    "l1": (absolute, C),
    "bce": (yes_or_no, C),
    "kl_div": (divergence, 1),
}


def of(name: str, smoothing: float, outputs: Tensor = OUTPUTS, y: Tensor = LABELS) -> float:
    return LOSSES[name](smoothing)(outputs, y).item()


def test_every_loss_that_can_be_set_is_held_against_its_formula() -> None:
    assert set(LOSSES) == set(FORMULAS) <= set(choices_of("loss"))


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_the_mean_its_docstring_says(name: str, smoothing: float) -> None:
    term, parts = FORMULAS[name]
    assert of(name, smoothing) == pytest.approx(mean_over_examples(smoothing, term, parts), rel=1e-5)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_smoothed_targets_are_distributions(smoothing: float) -> None:
    rows = targets(LABELS, C, smoothing)
    expected = [[target(n, c, smoothing) for c in range(C)] for n in range(N)]
    torch.testing.assert_close(rows, torch.tensor(expected))
    torch.testing.assert_close(rows.sum(1), torch.ones(N))


def test_cross_entropy_and_bce_are_those_of_torch() -> None:
    one_hot = torch.eye(C)[LABELS]
    assert of("cross_entropy", 0.1) == pytest.approx(nn.CrossEntropyLoss(label_smoothing=0.1)(OUTPUTS, LABELS).item())
    assert of("bce", 0.0) == pytest.approx(nn.BCEWithLogitsLoss()(OUTPUTS, one_hot).item())


def test_mse_times_the_classes_is_the_brier_score() -> None:
    brier = sum((probability(n, c) - (LABELS[n] == c).item()) ** 2 for n in range(N) for c in range(C)) / N
    assert C * of("mse", 0.0) == pytest.approx(brier, rel=1e-5)


def test_kl_div_equals_cross_entropy_without_smoothing_and_is_lower_by_the_entropy_of_the_target_with_it() -> None:
    assert of("kl_div", 0.0) == pytest.approx(of("cross_entropy", 0.0), rel=1e-6)
    entropy = -sum(t * math.log(t) for t in (target(0, c, 0.1) for c in range(C)))
    assert of("cross_entropy", 0.1) - of("kl_div", 0.1) == pytest.approx(entropy, rel=1e-5)
    perfect = targets(LABELS, C, 0.1).log()
    assert of("kl_div", 0.1, outputs=perfect) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_right_guess_costs_less_than_a_wrong_one(name: str) -> None:
    sure = 8 * torch.eye(C)[LABELS] - 4
    assert of(name, 0.0, outputs=sure) < of(name, 0.0) < of(name, 0.0, outputs=sure.flip(1) * 4)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_a_gradient_towards_every_output_even_when_it_is_far_off(name: str) -> None:
    outputs = (OUTPUTS * 3).requires_grad_()
    LOSSES[name](0.1)(outputs, LABELS).backward()
    assert torch.isfinite(outputs.grad).all() and (outputs.grad != 0).any(1).all()
