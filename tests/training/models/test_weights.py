"""ImageNet weights: where they come from, what of them is used, and what is said when they cannot be had."""

import hashlib
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer

from tests.faults.scale import many
from tui_trainer.catalog.zoo import ZOO
from tui_trainer.errors import ModelError
from tui_trainer.run.events import Preparing
from tui_trainer.training.models import weights, zoo
from tui_trainer.training.models.zoo import WithoutValues

Offer = Callable[..., dict[str, torch.Tensor]]


def with_weights(name: str, shape: tuple[int, int, int], outputs: int, **arguments: Any) -> nn.Module:
    """torchvision's model with ImageNet's weights, as a run makes it."""
    model = zoo.build(name, shape, outputs, **arguments)
    weights.load(model, name)
    return model


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def offer(tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Makes torchvision offer the random weights of a model, from `server`, or already in the hub folder."""

    def make(name: str, server: str = "") -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        state = models.get_model(name, **({"init_weights": True} if name == "googlenet" else {})).state_dict()
        torch.save(state, tmp_path / "weights")
        content = (tmp_path / "weights").read_bytes()
        file = f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        folder = tmp_path / "served" if server else hub
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
        value = models.get_model_weights(name).DEFAULT.value
        monkeypatch.setattr(value, "url", f"{server or 'http://127.0.0.1:9'}/{file}")
        return state  # type: ignore[no-any-return]

    return make


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a web server for the folder `served`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"))

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
        thread.join()


def test_all_but_the_head_is_loaded(offer: Offer) -> None:
    state = offer("squeezenet1_1")
    torch.manual_seed(7)
    fresh = zoo.build("squeezenet1_1", (3, 32, 32), 10)
    torch.manual_seed(7)
    model = with_weights("squeezenet1_1", (3, 32, 32), 10)
    for key, value in model.state_dict().items():
        expected = fresh.state_dict()[key] if key.startswith("classifier.1.") else state[key]
        assert torch.equal(value, expected), key


def test_a_grey_image_means_what_it_meant_in_colour(offer: Offer) -> None:
    offer("shufflenet_v2_x0_5")
    built = {n: with_weights("shufflenet_v2_x0_5", (n, 40, 40), 10).eval() for n in (1, 3, 5)}
    grey = torch.rand(2, 1, 40, 40)
    expected = built[3](grey.expand(-1, 3, -1, -1))
    for channels in (1, 5):
        built[channels].fc = built[3].fc
        assert torch.allclose(built[channels](grey.expand(-1, channels, -1, -1)), expected, atol=1e-5)


def test_weights_for_images_from_minus_one_to_one_take_images_as_all_others_do(offer: Offer) -> None:
    state = offer("googlenet")
    theirs = models.googlenet(init_weights=False, aux_logits=True, transform_input=True).eval()
    theirs.load_state_dict(state)
    ours = with_weights("googlenet", (3, 64, 64), 10).eval()
    grey = with_weights("googlenet", (1, 64, 64), 10).eval()
    assert not hasattr(ours, "AuxLogits") and ours.aux1 is None and not ours.transform_input
    X = torch.randn(2, 1, 64, 64)
    inside = (..., slice(2, -2), slice(2, -2))  # its own border is the one difference
    expected = theirs.conv1(theirs._transform_input(X.expand(-1, 3, -1, -1)))[inside]
    assert torch.allclose(ours.conv1(X.expand(-1, 3, -1, -1))[inside], expected, atol=1e-5)
    assert torch.allclose(grey.conv1(X)[inside], expected, atol=1e-5)


def test_a_vision_transformers_places_are_drawn_to_the_images_size() -> None:
    def vit(side: int, outputs: int) -> VisionTransformer:
        return VisionTransformer(side, 16, 1, 2, 8, 8, num_classes=outputs)

    source, model = vit(64, 1000), vit(32, 10)
    state = source.state_dict()
    weights.fit(model, dict(state), "vit_b_16")
    places = model.encoder.pos_embedding
    assert places.shape == (1, 5, 8) and torch.equal(places[:, 0], state["encoder.pos_embedding"][:, 0])
    assert torch.allclose(places[0, 1], state["encoder.pos_embedding"][0, 1])  # corners stay corners


def test_densenets_files_have_older_names() -> None:
    model = zoo.build("densenet121", (3, 32, 32), 10)
    state = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): torch.full_like(value, 3)
        for key, value in model.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    weights.fit(model, state, "densenet121")
    assert all(p.eq(3).all() for name, p in model.named_parameters() if not name.startswith("classifier."))


def test_the_version_in_a_file_is_heeded(offer: Offer) -> None:
    state = offer("mnasnet0_5")
    model = with_weights("mnasnet0_5", (3, 32, 32), 10)  # the first version had other first layers
    assert torch.equal(model.state_dict()["layers.0.weight"], state["layers.0.weight"])


OFTEN = ["googlenet", "inception_v3", "maxvit_t", "mnasnet1_3", "swin_v2_t", "vit_b_32"]


@pytest.mark.parametrize("name", many(0, 1) * models.list_models(module=models) or OFTEN)
def test_every_name_in_the_weights_fits_the_model_for_grey_images_of_another_size(name: str) -> None:
    facts = ZOO[name]
    theirs = {"image_size": facts.weights_side} if name.startswith("vit_") else {}
    theirs |= {"init_weights": False} if name in weights.SHIFTED else {}
    with WithoutValues():
        state = models.get_model(name, **theirs).to("meta").state_dict()
    side = facts.side(48)
    weights.fit(zoo.sketch(name, (1, side, side), 10), state, name)


def test_weights_are_downloaded_once_into_torchs_folder_and_the_progress_is_told(
    offer: Offer, server: str, hub: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    offer("squeezenet1_1", server)
    events = list(weights.fetch("squeezenet1_1"))
    assert isinstance(events[-1], Preparing)
    assert re.fullmatch(r"downloading the weights of squeezenet1_1: 5\.0 MB of 5\.0 MB", events[-1].what)
    assert list(hub.iterdir()) == [weights.file_of("squeezenet1_1")]
    assert list(weights.fetch("squeezenet1_1")) == []
    with_weights("squeezenet1_1", (1, 32, 32), 10)
    assert capfd.readouterr() == ("", "")


def test_a_download_with_another_checksum_is_not_kept(offer: Offer, server: str, hub: Path, tmp_path: Path) -> None:
    offer("squeezenet1_1", server)
    (served,) = (tmp_path / "served").iterdir()
    served.write_bytes(served.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="what came has another checksum"):
        with_weights("squeezenet1_1", (3, 32, 32), 10)
    assert list(hub.iterdir()) == []


@pytest.mark.parametrize(("gone", "told"), [(True, "Connection refused"), (False, "File not found")])
def test_no_network_is_a_sentence_with_the_folder_and_the_way_out(
    offer: Offer, server: str, hub: Path, tmp_path: Path, gone: bool, told: str
) -> None:
    offer("squeezenet1_1", "http://127.0.0.1:9" if gone else server)
    for file in (tmp_path / "served").iterdir():
        file.unlink()
    with pytest.raises(ModelError) as error:
        with_weights("squeezenet1_1", (3, 32, 32), 10)
    said = str(error.value)
    assert said.startswith(f"The weights of squeezenet1_1 (5.0 MB) are not in {hub} and cannot be downloaded: {told}.")
    assert "TORCH_HOME" in said and "pretrained off" in said and error.value.exit_code == 4
    assert list(hub.iterdir()) == []


def test_a_damaged_file_is_told_and_never_loaded(offer: Offer) -> None:
    offer("squeezenet1_1")
    file = weights.file_of("squeezenet1_1")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"squeezenet1_1-\w+\.pth is damaged: .* Delete it"):
        with_weights("squeezenet1_1", (3, 32, 32), 10)


def test_a_file_that_is_no_weights_is_told(offer: Offer, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer("squeezenet1_1")
    monkeypatch.setattr(models.SqueezeNet1_1_Weights.DEFAULT.value, "url", "http://127.0.0.1:9/none.pth")
    (hub / "none.pth").write_bytes(b"<html>")
    with pytest.raises(ModelError, match=r"none\.pth cannot be read as weights: .*\nDelete it"):
        with_weights("squeezenet1_1", (3, 32, 32), 10)


def test_arguments_that_change_shapes_cannot_have_the_weights(offer: Offer) -> None:
    offer("mobilenet_v3_small")
    with pytest.raises(ModelError, match=r"do not fit the model as its arguments make it.*size mismatch"):
        with_weights("mobilenet_v3_small", (3, 32, 32), 10, reduced_tail=True)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2))
    with pytest.raises(ModelError, match="extra is not in both"):
        weights.fit(model, {**model.state_dict(), "extra": torch.zeros(1)}, "alexnet")
