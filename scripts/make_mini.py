"""Make the data inside the package from the real FashionMNIST files: 5,000 + 1,000 images, each class alike.

    uv run scripts/make_mini.py [FOLDER WITH THE FOUR FILES]

The images are the first of each class in the order of the files, so the result is the same every time.
"""

import gzip
import sys
from pathlib import Path

import numpy as np

from tui_trainer.catalog import IDX_FILES, MINI_FOLDER, SYSTEM_FOLDER
from tui_trainer.training.data.readers.idx import read_idx


def write_idx(path: Path, values: np.ndarray) -> None:
    """An idx file, packed without a time stamp."""
    header = (0x800 + values.ndim).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes(), 9, mtime=0))


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SYSTEM_FOLDER
    MINI_FOLDER.mkdir(parents=True, exist_ok=True)
    for images_name, labels_name, each in ((*IDX_FILES[:2], 500), (*IDX_FILES[2:], 100)):
        images, labels = read_idx(folder, images_name, 3), read_idx(folder, labels_name, 1)
        chosen = np.sort(np.concatenate([np.flatnonzero(labels == c)[:each] for c in range(10)]))
        write_idx(MINI_FOLDER / f"{images_name}.gz", images[chosen])
        write_idx(MINI_FOLDER / f"{labels_name}.gz", labels[chosen])
        print(f"{len(chosen):,} images in {images_name}.gz")


if __name__ == "__main__":
    main()
