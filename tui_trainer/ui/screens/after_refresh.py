"""What is to be done once a screen is drawn, if the screen is still there by then."""

from collections.abc import Callable

from textual.widget import Widget


def after_refresh(widget: Widget, callback: Callable[..., object], *values: object) -> None:
    """Call back after the next refresh, unless the screen of `widget` is taken down in the meantime."""
    widget.call_after_refresh(call_if_there, widget, callback, *values)


def call_if_there(widget: Widget, callback: Callable[..., object], *values: object) -> None:
    """Call back, unless the screen of `widget` is being taken down: parts of it are gone already then."""
    if widget.is_attached and widget.screen.display:
        callback(*values)
