"""What torchvision's FakeData makes, by its arguments."""

from collections.abc import Mapping

OPTIONS = ("size", "num_classes", "image_size")
SIZE, CLASSES, SHAPE = 1000, 10, (3, 32, 32)


def figures_of(typed: Mapping[str, object]) -> tuple[int, int, tuple[int, int, int]]:
    """How many images there are, of how many classes, and their shape [C, H, W], from arguments such as `size=500`.

    Raises:
        ValueError: a value is not possible; the message names it.
    """
    given = {"size": SIZE, "num_classes": CLASSES, "image_size": SHAPE} | dict(typed)
    count, classes, shape = given["size"], given["num_classes"], given["image_size"]
    for name, value, least in (("size", count, 2), ("num_classes", classes, 2)):
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 10_000_000:
            raise ValueError(f"{name} must be a whole number from {least} to 10,000,000, found {value!r}")
    sides = shape if isinstance(shape, tuple) and all(type(n) is int and 1 <= n <= 4096 for n in shape) else ()
    if len(sides) != 3 or sides[0] not in (1, 3):
        raise ValueError(f"image_size must be channels (1 or 3), height, width, such as 3,32,32; found {shape!r}")
    return count, classes, shape  # type: ignore[return-value]
