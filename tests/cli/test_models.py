"""`tui-trainer models`: what can be trained, for people and for pipes, without torch."""

import json
import subprocess
import sys

import pytest

from tests.cli.program import environment, hidden
from tui_trainer.catalog import MODELS
from tui_trainer.catalog.zoo import ZOO
from tui_trainer.cli import main


def program(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main.main(["models", *words])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_every_model_is_a_line_of_at_most_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = program(capsys)
    assert (code, err) == (0, "") and hidden(out) == set()
    head, *lines = out.splitlines()
    assert head.split() == ["model", "title", "parameters", "image", "side", "weights"]
    names = [line.split()[0] for line in lines if line and not line.startswith((" ", "Parameters", "Weights", "*"))]
    assert names == [*(name for name in MODELS if name not in ZOO), *ZOO]
    assert max(map(len, out.splitlines())) <= 80
    (line,) = (line for line in lines if line.startswith("resnet18 "))
    assert line.split() == ["resnet18", "ResNet18", "11,181,642", "from", "1", "46.8", "MB"]
    (line,) = (line for line in lines if line.startswith("vit_h_14 "))
    assert "multiples of 14" in line and line.endswith("GB*")
    assert lines[-1] == "* not for commercial use (CC BY-NC 4.0)"


def test_json_is_an_object_a_model_with_the_whole_of_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    found = [json.loads(line) for line in program(capsys, "--json", "--images", "1x28x28")[1].splitlines()]
    by_name = {row["name"]: row for row in found}
    assert by_name["mlp"] == {
        "name": "mlp", "title": MODELS["mlp"].title, "source": "tui-trainer", "parameters": 669_706, "sides": "from 1",
        "least": 1, "step": 1, "weights_bytes": 0, "license": "", "image_size": 28, "wants": "",
    }  # fmt: skip
    assert (by_name["vgg11"]["wants"], by_name["vgg11"]["image_size"]) == ("images from 32 x 32 pixels", 32)
    assert by_name["vgg11"]["parameters"] == ZOO["vgg11"].parameters((1, 32, 32), 10)
    assert by_name["resnet18"]["wants"] == ""


def test_a_model_that_does_not_take_the_images_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    lines = program(capsys, "vit_b", "--images", "1x28x28")[1].splitlines()
    assert [line.split()[0] for line in lines[1:5:2]] == ["vit_b_16", "vit_b_32"]
    assert lines[2] == "  takes square images with sides of multiples of 16 pixels: --image-size 32"
    assert "1x28x28" in lines[6]


@pytest.mark.parametrize(
    ("pattern", "first", "count"), [("resnet*", "resnet101", 5), ("ResNet", "resnet101", 7), ("VIT", "vit_b_16", 5)]
)
def test_a_pattern_picks_models(capsys: pytest.CaptureFixture[str], pattern: str, first: str, count: int) -> None:
    rows = [json.loads(line) for line in program(capsys, pattern, "--json")[1].splitlines()]
    rows = [row for row in rows if "maxvit" not in row["name"]]
    assert (rows[0]["name"], len(rows)) == (first, count)


def test_no_match_and_no_shape_are_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = program(capsys, "resnet19\x1b[2J")
    assert (code, out) == (0, "") and err.startswith("None of the 82 models match: resnet19\\x1b[2J.")
    for wrong in ("28", "1x28", "0x28x28", "1xax2", "1x²x2"):
        code, out, err = program(capsys, "--images", wrong)
        assert (code, out) == (2, "") and "such as 1x28x28" in err


def test_torch_is_not_imported_for_it() -> None:
    script = (
        "import sys\nfrom tui_trainer.cli import main as cli\ntry: cli.main(['models'])\n"
        "finally: print([name for name in ('torch', 'torchvision', 'numpy', 'textual') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n") and done.stderr == ""
