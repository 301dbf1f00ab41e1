"""What is trained: the model, the task and its loss."""

from typing import Annotated, Literal

from tui_trainer.settings.fields import (
    Arguments,
    Group,
    part_of_run,
    setting,
)


class ModelSettings(Group):
    """What is trained: the model, the task and its loss."""

    model: Annotated[str, part_of_run("model")] = setting(
        "mlp",
        "model",
        "Model",
        "mlp is the tutorial's 784-512-512-10 network; cnn, a small convolutional network, fits images better; others "
        "are torchvision's; or FILE.py:NAME of your own.",
        simple=True,
        fixed="the weights are those of this one",
    )
    model_arg: Arguments = setting(
        "",
        "model",
        "Model arguments",
        "Arguments of the model, as name=value words: hidden=512,512 for mlp.",
        fixed="the weights are those of this model",
    )
    pretrained: bool = setting(
        False,
        "model",
        "Pretrained",
        "Begin with weights that have learned from ImageNet; only the last layer begins anew.",
        fixed="it belongs to the beginning of a run",
    )
    task: Annotated[str, part_of_run("task")] = setting(
        "auto",
        "model",
        "Task",
        "What is to be predicted: classification, one class of several; binary, yes or no; multilabel, any of several; "
        "regression, numbers; distribution, the share of each class. auto goes by the data.",
        fixed="the best score so far would mean something else",
    )
    loss: Annotated[str, part_of_run("loss")] = setting(
        "cross_entropy",
        "model",
        "Loss",
        "What training makes small. cross_entropy suits classes; mse and l1 compare probabilities with the one-hot "
        "target, bce asks one yes-or-no question a class, kl_div compares distributions; mse, l1 and huber suit "
        "numbers.",
        simple=True,
        fixed="the best score so far would mean something else",
    )
    loss_arg: Arguments = setting(
        "",
        "model",
        "Loss arguments",
        "Arguments of a loss of your own, as name=value words.",
        fixed="the best score so far would mean something else",
    )
    label_smoothing: float = setting(
        0.0,
        "model",
        "Label smoothing",
        "Share of each target spread evenly over all classes; 0.1 makes a model less sure of itself. 0 is off.",
        ge=0,
        lt=1,
        fixed="the best score so far would mean something else",
    )
    class_weights: Literal["off", "balanced"] = setting(
        "off",
        "model",
        "Class weights",
        "balanced lets every class count alike in the loss that training makes small, however rare it is: for "
        "cross_entropy, and for bce of yes-or-no labels. What validation measures stays the plain loss.",
    )
    channels_last: bool = setting(
        False,
        "model",
        "Channels last",
        "Keep images with their channels last in memory; convolutions on a GPU like it.",
    )
