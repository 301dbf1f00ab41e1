"""DataLoaders over torchvision's FashionMNIST: what the documentation of Lightning, Ignite and fastai starts from."""

from pathlib import Path

from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from fashion import BATCH, unzipped


def loaders(data: Path) -> tuple[DataLoader, DataLoader]:
    """Training images in a random order, test images in theirs, 64 at a time."""
    root = unzipped(data)
    training = FashionMNIST(root, train=True, transform=ToTensor())
    test = FashionMNIST(root, train=False, transform=ToTensor())
    return DataLoader(training, batch_size=BATCH, shuffle=True), DataLoader(test, batch_size=BATCH)
