"""The data of a run to come: what there is of it, and images or rows as the model will see them."""

from textual import on
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget

from tui_trainer.outlook.preview.facts import Answer, DataFacts, Order, Samples
from tui_trainer.text import clean
from tui_trainer.ui.screens.after_refresh import after_refresh
from tui_trainer.ui.screens.preview import KEYS, LEAVING, LookScreen
from tui_trainer.ui.widgets.data_sheets import ClassList, ColumnList, Facts, Histograms, RowList
from tui_trainer.ui.widgets.keys import KeyLine, bindings_of
from tui_trainer.ui.widgets.pictures import Pictures
from tui_trainer.ui.widgets.sheet import ListSheet


class DataScreen(LookScreen):
    """Facts and classes at the left, images or the table at the right; a narrow terminal shows one of the two."""

    KIND = "data"
    BINDINGS = [
        LEAVING,
        Binding("n,right", "turn(1)", "Next", tooltip="Other examples; left goes back.", id="next"),
        Binding("left", "turn(-1)", show=False),
        Binding("space", "epoch", "Next epoch", tooltip="The same examples as another epoch changes them.", id="epoch"),
        Binding("a", "original", "Original", tooltip="As they are kept, or as the model sees them.", id="original"),
        Binding("c", "only", "One class", tooltip="Only images of the marked class, or all.", id="only"),
        Binding("tab", "other", "Other side", tooltip="Facts and classes, or what is beside them.", id="other"),
        *KEYS,
    ]

    def heading(self) -> str:
        return f"Data  {clean(self.settings.dataset, 60)}"

    def sheets(self) -> list[Widget]:
        self.facts: DataFacts | None = None
        self.samples: Samples | None = None
        self.original, self.page, self.epoch = False, 0, 1
        self._wanted: Order | None = None
        self.class_list, self.pictures, self.columns = ClassList(), Pictures(), ColumnList()
        left = Vertical(Facts(), self.class_list, Histograms(), id="left")
        return [left, Vertical(self.pictures, self.columns, RowList(), id="right")]

    # --- what was found ---

    @property
    def has_some(self) -> bool:
        return self.facts is not None

    @property
    def has_pictures(self) -> bool:
        return self.facts is not None and len(self.facts.shape) in (2, 3)

    def forget(self) -> None:
        self.facts = self.samples = self._wanted = None
        self.page, self.epoch = 0, 1
        self.pictures.show(None, original=False)

    def take(self, answer: Answer) -> None:
        if answer.data is not None:
            self._show_facts(answer.data)
        if answer.samples is not None and answer.samples.order.only == self.class_list.only:
            self.samples = answer.samples
            self._show_samples()

    def _show_facts(self, facts: DataFacts) -> None:
        self.facts = facts
        for sheet in (*self.query(Facts), *self.query(Histograms), *self.query(RowList), self.class_list, self.columns):
            sheet.show(facts)
        self.class_list.display = facts.kind != "number" and bool(facts.classes)
        self.query_one(Histograms).display = bool(facts.targets)
        self.pictures.display = self.has_pictures
        self.columns.display = bool(facts.columns)
        self.query_one(RowList).display = bool(facts.rows)
        self.query_one("#right").display = self.has_pictures or bool(facts.columns)
        self.pictures.note = "reading the first images ..."
        self._bring("right" if self.has_pictures or facts.columns else "left")
        after_refresh(self, self.order)

    def _bring(self, side: str) -> None:
        self.set_class(side == "right", "-right")
        for name in ("left", "right"):
            self.query_one(f"#{name}").set_class(name == side, "-current")
        front = self.columns if side == "right" and self.columns.display else self.class_list
        for sheet in (self.class_list, self.columns, self.pictures):
            sheet.set_class(sheet is (self.pictures if side == "right" and self.has_pictures else front), "-current")

    # --- images ---

    @on(Pictures.Sized)
    def order(self) -> None:
        """Ask for the images that are wanted now, in the size that there is room for."""
        if self.facts is None or self.looking is None or not self.has_pictures or not self.pictures.content_size.width:
            return
        grid = self.pictures.grid(self.facts.shape)
        order = Order(
            page=self.page,
            count=min(400, grid.count),
            epoch=self.epoch,
            only=self.class_list.only,
            width=grid.width,
            height=grid.height,
        )
        if order != self._wanted:
            self._wanted = order
            self.looking.ask(order)

    def _show_samples(self) -> None:
        samples, facts = self.samples, self.facts
        if samples is None or facts is None:
            return
        only = self.class_list.only
        self.pictures.note = "no training example is of this class" if only is not None else "there is no example"
        how = "original" if self.original else "as the model sees them"
        epoch = f" · epoch {samples.order.epoch:,}" if not self.original and facts.changes else ""
        which = f" · only {clean(facts.classes[only], 30)}" if only is not None else ""
        self.pictures.border_title = Content(f"train · {how}{epoch}{which}")
        self.pictures.border_subtitle = Content(
            f"{samples.order.page + 1:,} of {samples.pages:,}" if samples.pages else ""
        )
        self.pictures.show(samples, original=self.original)

    # --- keys ---

    def list_of_keys(self) -> ListSheet | None:
        if self.columns.display and (self.has_class("-right") or not self.class_list.display):
            rows = self.query_one(RowList)
            return self.columns if self.columns.count > self.columns.room else rows
        return self.class_list if self.class_list.display else None

    def action_move(self, rows: int) -> None:
        super().action_move(rows)
        if self.class_list.only is not None and self.list_of_keys() is self.class_list:
            self._choose(self.class_list.cursor)

    def action_turn(self, pages: int) -> None:
        if not self.refuses("turn") and self.samples is not None:
            self.page = (self.page + pages) % max(1, self.samples.pages)
            self.order()

    def action_epoch(self) -> None:
        if not self.refuses("epoch"):
            self.epoch += 1
            self.order()

    def action_original(self) -> None:
        if not self.refuses("original"):
            self.original = not self.original
            self._show_samples()
            self.query_one(KeyLine).refresh()

    def action_only(self) -> None:
        if not self.refuses("only"):
            self._choose(None if self.class_list.only is not None else self.class_list.cursor)

    def _choose(self, only: int | None) -> None:
        if only != self.class_list.only:
            self.class_list.only, self.page = only, 0
            self.class_list.place()
            self.query_one(KeyLine).refresh()
            self.order()

    def action_other(self) -> None:
        if not self.refuses("other"):
            self._bring("left" if self.has_class("-right") else "right")
            self.query_one(KeyLine).refresh()

    def label_of(self, binding: Binding) -> str:
        if binding.action == "original" and self.is_mounted and self.original:
            return "As the model sees"
        if binding.action == "only" and self.is_mounted and self.class_list.only is not None:
            return "All classes"
        if binding.action == "other" and self.is_mounted and self.facts is not None:
            return "Facts" if self.has_class("-right") else "Images" if self.has_pictures else "Table"
        return binding.description

    def shown_keys(self) -> list[Binding]:
        """A table has no images; and where both sides are in sight only two lists want a key to change."""
        hidden = set()
        if self.facts is not None:
            if not self.has_pictures:
                hidden = {"turn(1)", "epoch", "original", "only"}
            if not self.has_class("-narrow") and not (self.columns.display and self.class_list.display):
                hidden.add("other")
        return [b for b in bindings_of(self) if b.show and b.action not in hidden]

    def why_not(self, action: str) -> str | None:
        name = action.split("(")[0]
        if name in ("back", "again", "help"):
            return None
        if self.facts is None:
            return "The data is still being read." if not self.error else "There is nothing to see."
        if name == "other":
            return None if self.query_one("#right").display else "There is nothing beside it."
        if name in ("turn", "epoch", "original", "only") and not self.has_pictures:
            return "These data are no images."
        if name in ("epoch", "original") and not self.facts.changes:
            return "Nothing changes the images: augment is none."
        if name == "only" and not self.class_list.display:
            return "These data have no classes."
        return None
