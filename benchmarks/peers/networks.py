"""The networks that peers train, as the field writes them."""

import torch
from torch import nn


class NeuralNetwork(nn.Module):
    """The tutorial's model: 784-512-512-10 for 28 x 28 images."""

    def __init__(self, side: int = 28) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(side * side, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear_relu_stack(self.flatten(x))


def cnn(side: int = 28) -> nn.Module:
    """Two 3x3 convolutions, each halved by pooling, then two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (side // 4) ** 2, 128),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.Linear(128, 10),
    )


def resnet18() -> nn.Module:
    """torchvision's ResNet-18 for ten classes, with one input channel."""
    from torchvision.models import resnet18  # 0.4 s that the others need not spend

    model = resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision starts it
    return model


def build(name: str, pad: int = 0) -> nn.Module:
    """The model called `name`, for images with a border of `pad` pixels."""
    side = 28 + 2 * pad
    match name:
        case "mlp":
            return NeuralNetwork(side)
        case "cnn":
            return cnn(side)
        case "resnet18":
            return resnet18()
    raise ValueError(name)


def optimizer_of(name: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """SGD or Adam with torch's defaults."""
    return {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name](model.parameters(), lr=lr)


def device_of(name: str) -> torch.device:
    """The device called `name`; auto is the accelerator there is, as in the tutorial."""
    if name != "auto":
        return torch.device(name)
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
