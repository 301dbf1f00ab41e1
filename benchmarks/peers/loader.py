"""A plain loop over a plain DataLoader: bytes in memory, one example at a time or, with --whole-batches, a whole batch.

Workers stay from epoch to epoch, and memory is pinned where there is a GPU, as PyTorch's performance guide says.
"""

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from fashion import BATCH, LR, Clock, plain_options, read, say
from networks import build, device_of, optimizer_of

EVALUATION_BATCH = 512


class Bytes(Dataset[tuple[Tensor, Tensor]]):
    """`images` [N, 1, H, W] uint8 and `labels` [N]; an index is one number, or a list of them for a whole batch."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | list[int]) -> tuple[Tensor, Tensor]:
        return self.images[index].float().div_(255), self.labels[index]


@torch.inference_mode()
def evaluate(model: nn.Module, loss_fn: nn.Module, loader: DataLoader, device: torch.device) -> tuple[float, float]:
    """Accuracy and mean loss; one wait for the device at the end."""
    model.eval()
    right, loss_sum, examples = torch.zeros((), device=device), torch.zeros((), device=device), 0
    for X, y in loader:
        X, y = X.to(device, non_blocking=True), y.to(device, non_blocking=True)
        pred = model(X)
        loss_sum += loss_fn(pred, y) * len(y)
        right += (pred.argmax(1) == y).sum()
        examples += len(y)
    return right.item() / examples, loss_sum.item() / examples


def main() -> None:
    parser = plain_options(__doc__)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--whole-batches", action="store_true", help="the sampler names whole batches")
    arguments = parser.parse_args()
    device = device_of(arguments.device)

    def make_loader(split: str, batch: int) -> DataLoader:
        images, labels = read(arguments.data, split)
        padded = nn.functional.pad(torch.tensor(images)[:, None], [arguments.pad] * 4)
        data = Bytes(padded, torch.from_numpy(labels))
        kept = {"num_workers": arguments.workers, "persistent_workers": arguments.workers > 0}
        kept["pin_memory"] = device.type == "cuda"
        taken = arguments.limit_batches * BATCH or len(data)
        order = RandomSampler(data, num_samples=taken) if split == "train" else SequentialSampler(data)
        if arguments.whole_batches:
            return DataLoader(data, sampler=BatchSampler(order, batch, drop_last=False), batch_size=None, **kept)
        return DataLoader(data, sampler=order, batch_size=batch, **kept)

    torch.manual_seed(arguments.seed)
    train_loader, test_loader = make_loader("train", BATCH), make_loader("t10k", EVALUATION_BATCH)
    model = build(arguments.model, arguments.pad).to(device)
    optimizer = optimizer_of(arguments.optimizer, model, LR)
    loss_fn = nn.CrossEntropyLoss()
    clock, accuracy, loss_of_test = Clock(), 0.0, 0.0
    for _ in range(arguments.epochs):
        clock.begin()
        model.train()
        for X, y in train_loader:
            X, y = X.to(device, non_blocking=True), y.to(device, non_blocking=True)
            loss = loss_fn(model(X), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        accuracy, loss_of_test = evaluate(model, loss_fn, test_loader, device)
        clock.end()
    say("loader", "torch", clock, accuracy, loss_of_test)


if __name__ == "__main__":
    main()
