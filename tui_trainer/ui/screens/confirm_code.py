"""Code of the user's own that a settings file names: asked for before it runs."""

from collections.abc import Callable, Mapping

from textual.app import App

from tui_trainer.errors import TrainerError
from tui_trainer.own import trust
from tui_trainer.own.admitted import Admitted
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.ui.screens.dialogs import Ask


def admit(
    app: App[None], settings: Settings, origins: Mapping[str, str], then: Callable[[Settings, Admitted], object]
) -> None:
    """Go on with `then` once the user knows all code that the settings name, or say why not.

    `then` gets the settings with real paths, and the code as it was judged.
    """
    try:
        found = Admitted.find(settings)
    except TrainerError as error:
        app.notify(clean(error, 600), severity="error", markup=False, timeout=8)
        return

    def agreed(answer: str | None) -> None:
        if answer == "run":
            found.remember()
            then(found.located(settings), found)

    unknown = found.unknown(origins)
    if not unknown:
        agreed("run")
        return

    questions = "\n".join(trust.question(code, place) for place, code in unknown)
    app.push_screen(Ask(questions, {"back": "Back to the form", "run": "I know this code: run it"}), agreed)
