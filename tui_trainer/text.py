"""Words and numbers for people: foreign text made harmless, and one way to write each kind of figure."""

import difflib
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 200
"""Characters of foreign text that are shown before it is cut."""

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode classes that move the cursor, turn the writing direction, or show nothing."""


def clean(text: object, limit: int = LONGEST) -> str:
    """`text` on one line with every control character written out (`\\x1b`), cut to `limit` characters."""
    shown = str(text)[: limit + 1]
    if not (shown.isascii() and shown.isprintable()):  # nearly all text is, and a list of runs cleans a lot of it
        shown = "".join(
            ch.encode("unicode_escape").decode("ascii") if unicodedata.category(ch) in _HIDDEN else ch for ch in shown
        )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def clean_lines(text: object, limit: int = 2000) -> str:
    """`clean`, but line ends stay: for messages of several sentences."""
    return "\n".join(clean(line, limit) for line in str(text).split("\n"))


_ADDRESS = re.compile(r"(https?://)(?:[^\s/?#]*@)?([^\s/?#]*)(?:[/?#]\S*)?", re.IGNORECASE)


def without_secrets(text: object) -> str:
    """`text` with every web address cut to its host: password, path and query may be what opens it."""
    return _ADDRESS.sub(lambda match: f"{match[1]}{match[2]}/…", str(text))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'lr'?`, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""


def number(value: float | None, digits: int = 4) -> str:
    """At most `digits` significant digits, never an exponent for everyday sizes: `0.001`, `1,204`, `3.2e-05`."""
    if value is None:
        return "-"
    if value != value:
        return "nan"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}" if size < 1e9 else f"{value:.{digits - 1}g}"
    return f"{value:.{digits}g}"


def fixed(value: float | None) -> str:
    """A loss in a column: four significant digits with the zeros kept, so that widths do not jump (`0.3120`)."""
    if value is None or not abs(value) < float("inf"):
        return number(value)
    size = abs(value)
    if size >= 1000:
        return f"{value:.3g}"
    return f"{value:.{4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 1}f}"


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with one decimal: `87.9 %`."""
    if fraction is None or fraction != fraction:
        return "-"
    return f"{100 * fraction:.1f} %" if abs(fraction) < 1000 else f"{100 * fraction:.2g} %"


def clock(seconds: float | None) -> str:
    """A duration as `0:08`, `12:41` or `3:02:55`; `-:--` when unknown."""
    if seconds is None or not 0 <= seconds < 1e9:
        return "-:--"
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def span(seconds: float) -> str:
    """A duration as one says it: `0.041 s`, `8.3 s`, `12 s`, `3:20`."""
    if seconds < 9.95:
        return f"{number(seconds, 2)} s"
    return f"{seconds:.0f} s" if seconds < 59.5 else clock(seconds)


def ago(seconds: float) -> str:
    """How long ago, in the largest unit that says enough: `8 s ago`, `3 min ago`, `2 h ago`, `5 days ago`."""
    if seconds < 90:
        return f"{max(0, int(seconds))} s ago"
    if seconds < 5400:
        return f"{int(seconds / 60)} min ago"
    if seconds < 172800:
        return f"{int(seconds / 3600)} h ago"
    return f"{int(seconds / 86400)} days ago"


def size(count: float) -> str:
    """Bytes as `5.3 kB`, `8.0 MB`, `1.2 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
