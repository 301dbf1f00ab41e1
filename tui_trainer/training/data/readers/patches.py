"""PatchCamelyon's images, which lie in one HDF5 file a split: too large for memory, and without files of their own."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tui_trainer.training.data.examples import Items
from tui_trainer.training.data.images import fit
from tui_trainer.training.data.readers.files import Form


class Patches:
    """The images of a split, read one by one; each process opens the file for itself."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._images: Any = None

    def __getitem__(self, number: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        """[96, 96, 3]."""
        if self._images is None:
            import h5py

            self._images = h5py.File(self._path)["x"]
        return np.asarray(self._images[number])

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_images": None}

    @staticmethod
    def labels(made: Any) -> Tensor:
        """[N], of torchvision's data set."""
        with made.h5py.File(made._base_folder / made._FILES[made._split]["targets"][0]) as file:
            return torch.as_tensor(np.asarray(file["y"]).reshape(-1).astype(np.int64))

    @classmethod
    def of(cls, made: Any, targets: Tensor, form: Form) -> Items:
        """The examples of torchvision's data set."""
        patches = cls(str(made._base_folder / made._FILES[made._split]["images"][0]))
        return Items(patches, targets, form.shape, Shaped(form))


class Shaped:
    """Makes an array [H, W, 3] or an image of Pillow what `form` wants."""

    def __init__(self, form: Form) -> None:
        self._form = form

    def __call__(self, image: Any) -> Tensor:
        form = self._form
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        pixels = fit(image, "L" if form.channels == 1 else "RGB", (form.height, form.width)).pixels
        return F.pad(torch.from_numpy(pixels).permute(2, 0, 1), [form.pad] * 4).contiguous()
