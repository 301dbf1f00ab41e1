"""Code of the user's own that a settings file names: asked for before it runs."""

from collections.abc import Callable, Mapping

from textual.app import App

from tui_trainer.errors import TrainerError
from tui_trainer.own import admitted, trust
from tui_trainer.settings.schema import Settings
from tui_trainer.text import clean
from tui_trainer.ui.screens.dialogs import Ask


def admit(app: App[None], settings: Settings, origins: Mapping[str, str], then: Callable[[Settings], object]) -> None:
    """Go on with `then` once the user knows all code that the settings name, or say why not."""
    try:
        unknown = admitted.to_ask(settings, origins)
        if not unknown:
            then(admitted.admit(settings, origins))
            return
    except TrainerError as error:
        app.notify(clean(error, 600), severity="error", markup=False, timeout=8)
        return

    def agreed(answer: str | None) -> None:
        if answer == "run":
            for _, code in unknown:
                trust.remember(code.sha256, code.path)
            admit(app, settings, origins, then)

    questions = "\n".join(trust.question(code, place) for place, code in unknown)
    app.push_screen(Ask(questions, {"back": "Back to the form", "run": "I know this code: run it"}), agreed)
