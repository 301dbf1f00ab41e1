"""Images in half blocks, two pixels a cell, each with its label beneath."""

from dataclasses import dataclass
from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip

from tui_trainer.outlook.preview.facts import MOST_PIXELS, Picture, Samples
from tui_trainer.ui.widgets.sheet import Sheet, cut

SHADES = " ░▒▓█"
"""From no ink to full, where the terminal has too few colours for pixels."""
SMALL = 40
"""Images of up to so many pixels are recognised beside each other; of larger ones a few are better."""
LEAST = 16
"""Pixels of a side below which hardly anything is recognised."""
GAP = 2
"""Columns between two images."""
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Grid:
    """How a page of images is laid out."""

    columns: int
    rows: int
    width: int
    height: int
    """Pixels of a picture at most."""

    @property
    def count(self) -> int:
        return self.columns * self.rows

    @property
    def lines(self) -> int:
        """Lines of a picture."""
        return -(-self.height // 2)


def grid(width: int, height: int, shape: tuple[int, ...]) -> Grid:
    """The size of pictures of images [C, H, W] in which several fill `width` by `height` cells best."""
    rows, columns = shape[-2:]
    side = max(rows, columns)
    wanted = 6 if side <= SMALL else 2
    sizes = [float(n) for n in range(SMALL // side, 1, -1)]
    sizes += [n / side for n in range(min(side, MOST_PIXELS, 2 * max(width, height)), min(side, LEAST) - 1, -1)]
    fits: list[tuple[bool, int, Grid]] = []
    for times in sizes:
        w, h = _pixels(columns, rows, times)
        across, down = (width + GAP) // (max(w, 8) + GAP), (height + 1) // (-(-h // 2) + 2)
        covered = across * down * w * h
        if times == 1:
            covered = covered * 5 // 4  # pixel for pixel they are sharpest
        if covered:
            fits.append((across * down >= wanted, covered, Grid(across, down, w, h)))
    if not fits:
        return Grid(1, 1, *_pixels(columns, rows, sizes[-1]))
    return max(fits, key=lambda fit: fit[:2])[2]


def _pixels(columns: int, rows: int, times: float) -> tuple[int, int]:
    return max(1, round(columns * times)), max(1, round(rows * times))


class Pictures(Sheet):
    """A page of images."""

    class Sized(Message):
        """There is another amount of room."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.samples: Samples | None = None
        self.original = False
        """Show the images as they are, and not as the model sees them."""
        self.note = ""
        """What is said while there is no image."""
        self._drawn: dict[int, Strip] = {}

    def show(self, samples: Samples | None, *, original: bool) -> None:
        self.samples, self.original = samples, original
        self._drawn.clear()
        self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        self._drawn.clear()
        self.post_message(self.Sized())

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn.clear()  # another theme has another background

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """The grid of images of this shape in the room that there is."""
        return grid(*self.content_size, shape)

    def render_line(self, y: int) -> Strip:
        width, plain = self.content_size.width, self.visual_style.rich_style
        if self.samples is None or not self.samples.samples:
            return Strip([Segment(cut(self.note if y == 0 else "", width), plain)])
        if y not in self._drawn:
            self._drawn[y] = self._line(self.samples, y, width, plain)
        return self._drawn[y]

    def _line(self, page: Samples, y: int, width: int, plain: Style) -> Strip:
        pictures = [s.original if self.original or s.seen is None else s.seen for s in page.samples]
        wide = max(8, max(p.width for p in pictures))
        lines = max(-(-p.height // 2) for p in pictures)
        across = max(1, (width + GAP) // (wide + GAP))
        row, line = divmod(y, lines + 2)  # the label, and a line between
        segments: list[Segment] = []
        for i in range(row * across, min((row + 1) * across, len(pictures))):
            if segments:
                segments.append(Segment(" " * GAP, plain))
            if line < lines:
                segments += self._pixels(pictures[i], line, plain, wide)
            else:
                segments.append(Segment(cut(page.samples[i].label if line == lines else "", wide), plain))
        return Strip(segments).adjust_cell_length(width, plain)

    def _pixels(self, picture: Picture, line: int, plain: Style, wide: int) -> list[Segment]:
        """A line of a picture, `wide` cells of it."""
        top, beneath = 2 * line, 2 * line + 1
        if top >= picture.height:
            return [Segment(" " * wide, plain)]
        red, green, blue = plain.bgcolor.get_truecolor() if plain.bgcolor else (0, 0, 0)
        shades = self.app.no_color or self.app.console.color_system in (None, "standard")
        segments = []
        for x in range(min(wide, picture.width)):
            upper = picture.colour(x, top)
            lower = picture.colour(x, beneath) if beneath < picture.height else (red, green, blue)
            if shades:
                segments.append(Segment(self._shade(upper, lower), plain))
            else:
                segments.append(Segment("▀", two(upper, lower)))
        return [*segments, Segment(" " * (wide - len(segments)), plain)]

    def _shade(self, upper: Colour, lower: Colour) -> str:
        light = (brightness(upper) + brightness(lower)) / 2
        level = min(4, int(light * 5))
        return SHADES[level if self.app.current_theme.dark else 4 - level]


def brightness(colour: Colour) -> float:
    """How bright a colour looks, 0 to 1."""
    red, green, blue = colour
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


@lru_cache(maxsize=20_000)
def two(upper: Colour, lower: Colour) -> Style:
    """The style of a half block with one pixel above another."""
    return Style(color=f"#{bytes(upper).hex()}", bgcolor=f"#{bytes(lower).hex()}")
