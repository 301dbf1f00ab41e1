"""Colours by role: one accent, one for validation, amber for pause and warnings, red only for failure."""

from textual.theme import Theme

THEMES = [
    Theme(
        name="cockpit-dark",
        primary="#5ab0f6",
        secondary="#d58fe6",
        accent="#5ab0f6",
        warning="#e5b454",
        error="#f26d6d",
        success="#8fce7a",
        foreground="#d5dbe3",
        background="#0e1318",
        surface="#141a21",
        panel="#1d252e",
        dark=True,
    ),
    Theme(
        name="cockpit-light",
        primary="#0f6cbd",
        secondary="#9a3fb5",
        accent="#0f6cbd",
        warning="#9a6700",
        error="#c62828",
        success="#2e7d32",
        foreground="#1f2630",
        background="#fbfbf9",
        surface="#f3f4f2",
        panel="#e4e7ea",
        dark=False,
    ),
    Theme(  # the Okabe-Ito palette, told apart with every kind of colour vision
        name="cockpit-colour-blind",
        primary="#56b4e9",
        secondary="#e69f00",
        accent="#56b4e9",
        warning="#f0e442",
        error="#d55e00",
        success="#009e73",
        foreground="#e0e0e0",
        background="#101010",
        surface="#181818",
        panel="#242424",
        dark=True,
    ),
]
