"""The least a loop can do: tensors in memory, a random order, predict, measure, backward, update. No report, no file.

Images become float32 once, before the clock starts. Evaluation measures 512 images at once, as our program does.
"""

import numpy as np
import torch
from torch import Tensor, nn

from fashion import BATCH, LR, Clock, arrays, plain_options, say
from networks import build, device_of, optimizer_of

EVALUATION_BATCH = 512


@torch.inference_mode()
def evaluate(model: nn.Module, loss_fn: nn.Module, X: Tensor, y: Tensor) -> tuple[float, float]:
    """Accuracy and mean loss; one wait for the device at the end."""
    model.eval()
    right, loss_sum = torch.zeros((), device=X.device), torch.zeros((), device=X.device)
    for part, labels in zip(X.split(EVALUATION_BATCH), y.split(EVALUATION_BATCH), strict=True):
        pred = model(part)
        loss_sum += loss_fn(pred, labels) * len(labels)
        right += (pred.argmax(1) == labels).sum()
    return right.item() / len(y), loss_sum.item() / len(y)


def main() -> None:
    arguments = plain_options(__doc__).parse_args()
    device = device_of(arguments.device)

    def tensors(split: str) -> tuple[Tensor, Tensor]:
        X, y = arrays(arguments.data, split, arguments.pad)
        return torch.from_numpy(np.ascontiguousarray(X)).to(device), torch.from_numpy(y).to(device)

    (X, y), (X_test, y_test) = tensors("train"), tensors("t10k")
    torch.manual_seed(arguments.seed)
    model = build(arguments.model, arguments.pad).to(device)
    optimizer = optimizer_of(arguments.optimizer, model, LR)
    loss_fn = nn.CrossEntropyLoss()
    batches = arguments.limit_batches or -(-len(y) // BATCH)
    clock, accuracy, loss_of_test = Clock(), 0.0, 0.0
    for _ in range(arguments.epochs):
        clock.begin()
        model.train()
        for indices in torch.randperm(len(y), device=device).split(BATCH)[:batches]:
            loss = loss_fn(model(X[indices]), y[indices])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        accuracy, loss_of_test = evaluate(model, loss_fn, X_test, y_test)
        clock.end()
    say("bare", "torch", clock, accuracy, loss_of_test)


if __name__ == "__main__":
    main()
