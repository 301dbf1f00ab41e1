"""The model of a run to come: its layers, and what it takes to train it, measured."""

from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget

from tui_trainer.outlook.preview.facts import Answer, Memory, ModelFacts, Speed
from tui_trainer.text import clean, number, percent, size, span
from tui_trainer.ui.screens.preview import KEYS, LEAVING, LookScreen
from tui_trainer.ui.widgets.data_sheets import bar
from tui_trainer.ui.widgets.keys import KeyLine, bindings_of
from tui_trainer.ui.widgets.panel import MUTED
from tui_trainer.ui.widgets.sheet import ListSheet, Sheet, cut, labelled


class LayerList(ListSheet):
    """A layer a row: its place in the model, type, output shape, parameters, and a bar of where they are."""

    facts: ModelFacts | None = None

    def show(self, facts: ModelFacts | None) -> None:
        self.facts, self.top = facts, 0
        text = f" · {len(facts.layers):,} · {facts.parameters:,} parameters" if facts else ""
        self.border_title = Content(f"layers{text}")
        self.place()

    @property
    def count(self) -> int:
        return len(self.facts.layers) if self.facts else 0

    def _widths(self, width: int) -> tuple[int, int, int, int, int]:
        """Cells of name, type, output, parameters and bar."""
        assert self.facts is not None
        layers = self.facts.layers
        longest = [max((len(clean(getattr(row, part), 60)) for row in layers), default=1) for part in _PARTS]
        parameters = max(10, *(len(f"{row.parameters:,}") for row in layers)) if layers else 10
        room = max(20, width - parameters - 3)
        kind, output = min(max(4, longest[1]), room // 3), min(max(6, longest[2]), room // 3)
        name = min(max(5, longest[0]), max(5, room - kind - output))
        return name, kind, output, parameters, max(0, min(24, room - name - kind - output - 2))

    def head(self, width: int) -> list[Content]:
        if self.facts is None:
            return []
        name, kind, output, parameters, _ = self._widths(width)
        text = f"{'layer':<{name}} {'type':<{kind}} {'output':<{output}} {'parameters':>{parameters}}"
        return [Content.styled(text[:width], MUTED)]

    def row(self, index: int, width: int) -> Content:
        assert self.facts is not None
        layer, (name, kind, output, parameters, room) = self.facts.layers[index], self._widths(width)
        frozen = layer.parameters > layer.trainable
        count = f"{layer.parameters:>{parameters},}" if layer.parameters else f"{'·':>{parameters}}"
        most = max((row.parameters for row in self.facts.layers), default=1) or 1
        return Content.assemble(
            (cut(layer.name, name), MUTED),
            f" {cut(layer.type, kind)} {cut(layer.output, output)} ",
            (count, "$secondary" if frozen else "" if layer.parameters else MUTED),
            "  ",
            bar(layer.parameters / most, room, "$secondary" if frozen else "$primary"),
        )


_PARTS = ("name", "type", "output")


class Totals(Sheet):
    """What the model is as a whole."""

    facts: ModelFacts | None = None

    def show(self, facts: ModelFacts | None) -> None:
        self.facts = facts
        self.refresh(layout=True)

    def lines(self, width: int, height: int) -> list[Content]:
        self.border_title = Content("model")
        f = self.facts
        if f is None:
            return []
        frozen = f.parameters - f.trainable
        parts = f", {f.trainable:,} trainable, {frozen:,} frozen" if frozen else ", all trainable"
        inputs = " x ".join(str(n) for n in f.shape)
        rows = [
            ("model", f.name, "bold"),
            ("parameters", f"{f.parameters:,}{parts}", "bold"),
            ("inputs", f"{inputs}, {f.outputs:,} output{'s' if f.outputs != 1 else ''}", ""),
            ("learns", f"{f.task}, loss {f.loss}", ""),
        ]
        return labelled(rows, width)


class MemoryUse(Sheet):
    """What training takes where the model computes, part by part."""

    memory: Memory | None = None
    peak: int | None = None
    note = "after the first steps"
    """What is said while nothing was measured."""

    def show(self, memory: Memory | None, peak: int | None = None) -> None:
        self.memory, self.peak = memory, peak
        self.border_title = Content(f"memory{f' · batches of {memory.batch_size:,}' if memory else ''}")
        self.refresh(layout=True)

    def lines(self, width: int, height: int) -> list[Content]:
        m = self.memory
        if m is None:
            return [Content.styled(self.note, MUTED)]
        parts = [
            ("weights", m.weights),
            ("gradients", m.gradients),
            ("optimizer", m.optimizer),
            ("activations", m.activations),
        ]
        parts += [("data", m.data)] if m.data else []
        total = sum(count for _, count in parts)
        room = max(0, min(24, width - 24))
        lines = [
            Content.assemble((f"{name:<11}", MUTED), f"{size(count):>9}  ", bar(count / (total or 1), room, "$primary"))
            for name, count in parts
        ]
        share = f"of {size(m.free + total)} free before" if m.free else ""
        lines.append(Content.assemble(("in all     ", MUTED), (f"{size(total):>9}", "bold"), f"  {share}"))
        if self.peak is not None:
            lines.append(Content.assemble(("peak       ", MUTED), f"{size(self.peak):>9}  held by torch"))
        how = (
            f"Counted after a step of {clean(m.optimizer_name, 30)}; activations are what a batch keeps for its "
            "backward pass. Workspace of libraries comes on top."
        )
        return [*lines, *Content.styled(how, MUTED).wrap(max(10, width))]


class Pace(Sheet):
    """How fast training is on the device, and how much of the machine it uses."""

    speed: Speed | None = None
    device = ""
    note = "after the memory"
    """What is said while nothing was measured."""

    def show(self, speed: Speed | None, device: str = "") -> None:
        self.speed, self.device = speed, device
        self.border_title = Content(f"speed{f' · {clean(device, 40)}' if device else ''}")
        self.refresh(layout=True)

    def lines(self, width: int, height: int) -> list[Content]:
        s = self.speed
        if s is None:
            return [Content.styled(self.note, MUTED)]
        whole = s.epochs * (s.epoch_seconds + s.valid_seconds)
        used = f"{number(s.cores_used, 2)} of {s.cores} cores"
        used += f", GPU {100 * s.gpu:.0f} % busy" if s.gpu is not None else ""
        rows = [
            (
                "steps",
                f"{number(s.batches_per_second, 3)} batches/s, {number(s.examples_per_second, 3)} examples/s",
                "bold",
            ),
            (
                "an epoch",
                f"{span(s.epoch_seconds)}, {s.epoch_batches:,} batches; {span(s.valid_seconds)} validation",
                "",
            ),
            ("the run", f"{span(whole)} for {s.epochs:,} epochs", "bold"),
            ("machine", used, ""),
            ("data", f"{percent(s.waited)} of the time waited for, {s.data_path}", ""),
            ("measured", f"{s.batches:,} batches of {s.batch_size:,}, not the first {s.left_out}", MUTED),
        ]
        return labelled(rows, width)


class ModelScreen(LookScreen):
    """Layers at the left, their cost at the right; a narrow terminal shows one of the two."""

    KIND = "model"
    BINDINGS = [
        LEAVING,
        Binding("tab", "other", "Other side", tooltip="The layers, or what training them takes.", id="other"),
        *KEYS,
    ]

    def heading(self) -> str:
        return f"Model  {clean(self.settings.model, 60)} for {clean(self.settings.dataset, 60)}"

    def sheets(self) -> list[Widget]:
        self.facts: ModelFacts | None = None
        self.memory: Memory | None = None
        self.layer_list = LayerList()
        return [
            Vertical(self.layer_list, id="left"),
            VerticalScroll(Totals(), MemoryUse(), Pace(), id="right", can_focus=False),
        ]

    @property
    def has_some(self) -> bool:
        return self.facts is not None

    def forget(self) -> None:
        self.facts = self.memory = None
        for sheet in (self.query_one(MemoryUse), self.query_one(Pace)):
            sheet.note = type(sheet).note
            sheet.show(None)
        self.remove_class("-right")

    def gave_up(self) -> None:
        for sheet in (self.query_one(MemoryUse), self.query_one(Pace)):
            sheet.note = "not measured"
            sheet.refresh()

    def take(self, answer: Answer) -> None:
        if answer.model is not None:
            self.facts = answer.model
            self.layer_list.show(answer.model)
            self.query_one(Totals).show(answer.model)
        if answer.memory is not None:
            self.memory = answer.memory
            self.query_one(MemoryUse).show(answer.memory)
        if answer.speed is not None:
            device = self.memory.device if self.memory else ""
            self.query_one(Pace).show(answer.speed, device)
            self.query_one(MemoryUse).show(self.memory, answer.speed.peak)

    def list_of_keys(self) -> ListSheet | None:
        return self.layer_list

    def action_move(self, rows: int) -> None:
        if self.has_class("-narrow") and self.has_class("-right"):
            self.query_one("#right").scroll_relative(y=rows, animate=False)
        else:
            super().action_move(rows)

    def action_other(self) -> None:
        if not self.refuses("other"):
            self.toggle_class("-right")
            self.query_one(KeyLine).refresh()

    def label_of(self, binding: Binding) -> str:
        if binding.action == "other":
            return "Layers" if self.has_class("-right") else "Cost"
        return binding.description

    def shown_keys(self) -> list[Binding]:
        """Where both sides are in sight there is none to change to."""
        return [b for b in bindings_of(self) if b.show and (b.action != "other" or self.has_class("-narrow"))]

    def why_not(self, action: str) -> str | None:
        if action != "other":
            return None
        if self.facts is None:
            return "The model is still being built." if not self.error else "There is nothing to see."
        return None if self.has_class("-narrow") else "Both are in sight."
