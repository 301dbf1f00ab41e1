"""Keras 3 on torch: a Sequential model, compile and fit on arrays, verbose=0.

Weights start as torch.nn.Linear starts them: Keras' own start is larger and learns faster at this rate, which would
make the accuracies hard to compare.
"""

import os

from fashion import BATCH, LR, Clock, arrays, options, say


def main() -> None:
    arguments = options(__doc__, models=("mlp",)).parse_args()
    os.environ["KERAS_BACKEND"] = "torch"
    if arguments.device != "auto":
        os.environ["KERAS_TORCH_DEVICE"] = arguments.device
    import keras
    from keras import initializers, layers

    def dense(inputs: int, outputs: int, activation: str | None) -> layers.Dense:
        bound = inputs**-0.5
        return layers.Dense(
            outputs,
            activation=activation,
            kernel_initializer=initializers.RandomUniform(-bound, bound),
            bias_initializer=initializers.RandomUniform(-bound, bound),
        )

    (X, y), (X_test, y_test) = arrays(arguments.data, "train"), arrays(arguments.data, "t10k")
    keras.utils.set_random_seed(arguments.seed)
    model = keras.Sequential(
        [
            keras.Input((1, 28, 28)),
            layers.Flatten(),
            dense(784, 512, "relu"),
            dense(512, 512, "relu"),
            dense(512, 10, None),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(LR),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    clock = Clock()
    times = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: clock.begin(),
        on_epoch_end=lambda *_: clock.end(),  # Keras has validated by then
    )
    history = model.fit(
        X,
        y,
        batch_size=BATCH,
        epochs=arguments.epochs,
        validation_data=(X_test, y_test),
        callbacks=[times],
        verbose=0,
    ).history
    say("keras", "keras", clock, history["val_accuracy"][-1], history["val_loss"][-1])


if __name__ == "__main__":
    main()
