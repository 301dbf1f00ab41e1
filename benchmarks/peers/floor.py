"""The matrix products of the tutorial's training steps and nothing else: what no program on this machine can undercut.

Three products forward and five backward for each batch of real images, written into memory that is already there.
No bias, no ReLU, no loss, no update, no evaluation.
"""

import torch

from fashion import BATCH, Clock, arrays, options, say
from networks import device_of


@torch.inference_mode()
def main() -> None:
    arguments = options(__doc__, models=("mlp",)).parse_args()
    device = device_of(arguments.device)
    images, _ = arrays(arguments.data, "train")
    batches = torch.from_numpy(images).flatten(1).to(device).split(BATCH)
    torch.manual_seed(arguments.seed)
    W1, W2, W3 = (torch.randn(n, m, device=device) / m**0.5 for n, m in ((512, 784), (512, 512), (10, 512)))
    dW1, dW2, dW3 = torch.empty_like(W1), torch.empty_like(W2), torch.empty_like(W3)
    h1, h2, dh1, dh2 = (torch.empty(BATCH, 512, device=device) for _ in range(4))
    out = torch.empty(BATCH, 10, device=device)
    buffers = {BATCH: (h1, h2, out, dh1, dh2)}
    buffers[len(batches[-1])] = tuple(buffer[: len(batches[-1])] for buffer in buffers[BATCH])
    clock = Clock()
    for _ in range(arguments.epochs):
        clock.begin()
        for X in batches:
            h1, h2, out, dh1, dh2 = buffers[len(X)]
            torch.mm(X, W1.T, out=h1)
            torch.mm(h1, W2.T, out=h2)
            torch.mm(h2, W3.T, out=out)
            torch.mm(out.T, h2, out=dW3)  # `out` stands for its gradient, which has its shape
            torch.mm(out, W3, out=dh2)
            torch.mm(dh2.T, h1, out=dW2)
            torch.mm(dh2, W2, out=dh1)
            torch.mm(dh1.T, X, out=dW1)
        if device.type != "cpu":
            torch.accelerator.synchronize()
        clock.end()
    say("floor", "torch", clock, None, None)


if __name__ == "__main__":
    main()
