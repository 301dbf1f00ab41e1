"""The process that looks, as the screens start it."""

from tui_trainer.outlook.preview.facts import Order
from tui_trainer.outlook.preview.process import PreviewProcess
from tui_trainer.settings.schema import Settings


def test_a_look_at_the_data_from_end_to_end() -> None:
    """Asked for images, it gives them; and when whoever asked is gone, the end of its input ends it."""
    looking = PreviewProcess("data", Settings(dataset="fashion-mnist-mini", augment="crop"))
    answers = looking.answers()
    facts = next(answer.data for answer in answers if answer.data is not None)
    assert [split.examples for split in facts.splits] == [4500, 500, 1000]
    for order in (Order(count=3), Order(count=2, page=1, only=5)):
        looking.ask(order)
        page = next(answers).samples
        assert page is not None and len(page.samples) == order.count and page.order == order
    process = looking._process
    assert process is not None and process.stdin is not None and looking.pid == process.pid
    process.stdin.close()
    assert process.wait(timeout=240) == 0
    assert list(answers) == [] and looking.pid is None
