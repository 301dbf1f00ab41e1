"""How a batch becomes a step."""

from typing import Annotated, Literal

from tui_trainer.settings.fields import (
    Arguments,
    Group,
    part_of_run,
    setting,
)


class OptimisationSettings(Group):
    """How a batch becomes a step."""

    optimizer: Annotated[str, part_of_run("optimizer")] = setting(
        "adam",
        "optimisation",
        "Optimizer",
        "The rule that turns gradients into steps.",
        simple=True,
        fixed="what it has kept of past steps is of no use to another",
    )
    optimizer_arg: Arguments = setting(
        "", "optimisation", "More of it", "Further arguments of the optimizer, as name=value words: betas=0.9,0.95."
    )
    lr: float = setting(
        1e-3,
        "optimisation",
        "Learning rate",
        "Step size of the optimizer. Above 0; 0.001 suits adam and adamw, sgd wants 0.01 to 0.1.",
        simple=True,
        gt=0,
        le=1e6,
    )
    momentum: float = setting(
        0.0, "optimisation", "Momentum", "Share of the last step kept in the next; 0.9 is usual for sgd.", ge=0, lt=1
    )
    nesterov: bool = setting(
        False, "optimisation", "Nesterov", "Look ahead by the momentum before measuring the gradient (sgd only)."
    )
    weight_decay: float = setting(
        0.0,
        "optimisation",
        "Weight decay",
        "Pull of every weight towards 0 at each step; adamw likes 0.01.",
        ge=0,
        le=1e3,
    )
    layer_decay: float = setting(
        1.0,
        "optimisation",
        "Layer decay",
        "Each layer learns at this share of the rate of the layer behind it; 0.75 is usual to fine-tune a pretrained "
        "transformer. The rate that is shown is that of the last layer. 1 is off.",
        gt=0,
        le=1,
        fixed="what the optimizer has kept is ordered by layers",
    )
    freeze_epochs: int = setting(
        0,
        "optimisation",
        "Freeze",
        "Epochs at the beginning in which only the last layer learns, all others rest; as many as epochs, or more, for "
        "the whole run. 0 is off.",
        ge=0,
        le=1_000_000,
    )
    clip_grad: float = setting(
        0.0,
        "optimisation",
        "Clip gradients",
        "Longest gradient, as a norm over all weights, that a step may use; 1 is usual. 0 is off.",
        ge=0,
        le=1e9,
    )
    grad_accum_steps: int = setting(
        1,
        "optimisation",
        "Accumulate",
        "Batches whose gradients are averaged into one step: k batches of n act as one batch of k x n.",
        ge=1,
        le=100_000,
        fixed="steps are counted in groups of it",
    )
    ema: float = setting(
        0.0,
        "optimisation",
        "Weight average",
        "Measure and keep a moving average of the weights; this share of it is kept at each step, 0.999 is usual. "
        "0 is off.",
        ge=0,
        lt=1,
        fixed="the average began with the run",
    )
    amp: Literal["off", "bf16", "fp16"] = setting(
        "off",
        "optimisation",
        "Mixed precision",
        "Compute in 16 bits where it is safe: about twice as fast on a recent GPU. bf16 needs no care, fp16 scales "
        "the loss.",
    )
    matmul_precision: Literal["highest", "high", "medium"] = setting(
        "highest",
        "optimisation",
        "Matrix products",
        "Precision of float32 products: high allows TensorFloat-32 on a GPU, medium bfloat16; faster and less exact.",
    )
    compile: bool = setting(
        False, "optimisation", "Compile", "Compile the model with torch.compile; takes a minute, then steps are faster."
    )
    cuda_graph: Literal["auto", "on", "off"] = setting(
        "auto",
        "optimisation",
        "CUDA graph",
        "Record a whole training step once and launch it as one piece; small models gain most. Only on a CUDA device. "
        "auto leaves out a model of your own, whose Python runs only while it is recorded.",
    )
    on_nonfinite: Literal["stop", "rollback", "ask"] = setting(
        "stop",
        "optimisation",
        "Not finite",
        "What to do when a loss or a gradient is NaN or infinite; the weights never see it. rollback goes back to the "
        "last checkpoint with half the rate, three times at most; ask lets you choose on the screen.",
    )
