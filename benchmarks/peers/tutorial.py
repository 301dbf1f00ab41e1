"""The PyTorch quickstart's script: torchvision's data set, ToTensor, a DataLoader, train() and test(), prints and all.

It does not shuffle, as the quickstart does not.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import ToTensor

from fashion import BATCH, LR, Clock, options, say, unzipped
from networks import build, device_of


def train(dataloader, model, loss_fn, optimizer, device):
    size = len(dataloader.dataset)
    model.train()
    for batch, (X, y) in enumerate(dataloader):
        X, y = X.to(device), y.to(device)
        loss = loss_fn(model(X), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if batch % 100 == 0:
            loss, current = loss.item(), (batch + 1) * len(X)
            print(f"loss: {loss:>7f}  [{current:>5d}/{size:>5d}]")


def test(dataloader, model, loss_fn, device):
    """Accuracy and mean loss of the batches."""
    size, num_batches = len(dataloader.dataset), len(dataloader)
    model.eval()
    test_loss, correct = 0.0, 0.0
    with torch.no_grad():
        for X, y in dataloader:
            X, y = X.to(device), y.to(device)
            pred = model(X)
            test_loss += loss_fn(pred, y).item()
            correct += (pred.argmax(1) == y).type(torch.float).sum().item()
    test_loss, correct = test_loss / num_batches, correct / size
    print(f"Test Error: \n Accuracy: {100 * correct:>0.1f}%, Avg loss: {test_loss:>8f} \n")
    return correct, test_loss


def main():
    arguments = options(__doc__).parse_args()
    root = unzipped(arguments.data)
    torch.manual_seed(arguments.seed)
    training_data = datasets.FashionMNIST(root=root, train=True, download=False, transform=ToTensor())
    test_data = datasets.FashionMNIST(root=root, train=False, download=False, transform=ToTensor())
    train_dataloader = DataLoader(training_data, batch_size=BATCH)
    test_dataloader = DataLoader(test_data, batch_size=BATCH)
    device = device_of(arguments.device)
    model = build(arguments.model).to(device)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    clock, accuracy, loss = Clock(), 0.0, 0.0
    for t in range(arguments.epochs):
        print(f"Epoch {t + 1}\n-------------------------------")
        clock.begin()
        train(train_dataloader, model, loss_fn, optimizer, device)
        accuracy, loss = test(test_dataloader, model, loss_fn, device)
        clock.end()
    say("tutorial", "torch", clock, accuracy, loss)


if __name__ == "__main__":
    main()
