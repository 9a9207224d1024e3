"""Publishing: every part goes to the hub and comes back by its id, with what was trained alone."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin

import models.publishing
from agents.actor.learned import LearnedActor
from agents.actor.map_memory import OBSERVATION_SIZE
from agents.actor.network import ActorNetwork
from agents.actor.registry import make_actor
from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from agents.planner.policy import PlannerPolicy
from agents.planner.policy_adapters import save_adapter
from agents.planner.registry import make_planner
from agents.reporter.learned import LearnedReporter
from agents.reporter.network import ReporterConfig, ReporterNetwork
from agents.reporter.registry import make_reporter
from envs.errors import BadInput
from models import references
from models.hub import FILES
from models.references import part_of
from rewards.success_vqa.baseline import BaselineConfig, BaselineDetector
from rewards.success_vqa.detector import FlamingoConfig, FlamingoDetector, SuccessDetector
from rewards.success_vqa.loading import load_detector
from tests.agents.tiny import dialogue, tiny_model, tiny_tokenizer

TASK = "Pick up the solid red ring or the striped blue cross."
ASKED = ["Did the agent examine it?"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub in a folder: what is uploaded is what can be downloaded."""
    root = tmp_path / "hub"

    class Api:
        def __init__(self, token: object = None) -> None: ...

        def create_repo(self, repo_id: str, **_: object) -> SimpleNamespace:
            (root / repo_id).mkdir(parents=True)
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(
            self, repo_id: str, folder_path: Path, allow_patterns: Sequence[str] | None, **_: object
        ) -> str:
            for file in Path(folder_path).iterdir():
                if allow_patterns is None or file.name in allow_patterns:
                    shutil.copyfile(file, root / repo_id / file.name)
            return f"commit of {repo_id}"

    def download(hub_id: str, allow_patterns: Sequence[str], **_: object) -> str:
        assert list(allow_patterns) == list(FILES)
        return str(root / hub_id)

    def there(hub_id: str, file: str = "config.json", **_: object) -> str:
        if not (root / hub_id / file).is_file():
            missing = huggingface_hub.errors.EntryNotFoundError("404")
            raise BadInput(f"no {file}") from missing
        return hub_id

    monkeypatch.setattr(huggingface_hub.hub_mixin, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda i, f: str(root / i / f))
    monkeypatch.setattr(references, "on_hub", there)
    monkeypatch.setattr(models.publishing, "on_hub", there)
    return root


@pytest.fixture
def base(tmp_path: Path) -> str:
    """The folder of a tiny language model."""
    tiny_model("llama").save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def published(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_an_actor_comes_back_from_the_hub(hub: Path) -> None:
    torch.manual_seed(1)
    network = ActorNetwork(channels=8, width=16)
    network.push_to_hub("me/actor")
    assert published(hub / "me/actor") == {"config.json", "model.safetensors", "README.md"}
    assert part_of(hub / "me/actor") == "actor"
    shown = torch.randint(0, 3, (4, OBSERVATION_SIZE), dtype=torch.uint8)
    again = make_actor("me/actor")
    assert isinstance(again, LearnedActor)
    for copy in (again.network, ActorNetwork.from_pretrained("me/actor")):
        assert torch.equal(copy(shown)[0], network(shown)[0]) and not copy.training
    with pytest.raises(BadInput, match="of an Actor, and not of a detector"):
        load_detector("me/actor")


def test_weights_of_an_actor_from_before_they_said_whose_they_are(tmp_path: Path) -> None:
    ActorNetwork(channels=8, width=16).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"channels": 8, "heads": 4, "width": 16}')
    assert part_of(tmp_path) == "actor"
    assert ActorNetwork.from_pretrained(tmp_path).settings["width"] == 16
    (tmp_path / "config.json").write_text('{"channels": 8, "heads": 4, "width": 16, "version": 9}')
    with pytest.raises(BadInput, match="version 9"):
        ActorNetwork.from_pretrained(tmp_path)


def test_a_reporter_comes_back_from_the_hub_over_its_language_model(hub: Path, base: str) -> None:
    torch.manual_seed(0)
    config = ReporterConfig(base, 16, 1, 4, gates=1, every=1)
    network = ReporterNetwork(tiny_model("llama"), tiny_tokenizer(), config).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(p.half())
    network.push_to_hub("me/reporter")
    assert published(hub / "me/reporter") == {"config.json", "model.safetensors", "README.md"}
    again = make_reporter("me/reporter", device="cpu")
    assert isinstance(again, LearnedReporter) and again.network.config == config
    saved = ReporterNetwork.from_pretrained("me/reporter", device="cpu")
    assert not any(name.startswith("model") for name in saved.state_dict())
    for copy in (again.network, saved):
        for name, tensor in copy.state_dict().items():
            assert torch.equal(tensor, network.state_dict()[name]), name
    with pytest.raises(BadInput, match="of a Reporter, and not of an Actor"):
        make_actor("me/reporter")


@pytest.mark.parametrize("kind", ["detector", "baseline"])
def test_a_detector_comes_back_from_the_hub(hub: Path, base: str, kind: str) -> None:
    torch.manual_seed(0)
    detector: SuccessDetector = (
        BaselineDetector(BaselineConfig(("did", "the", "agent"), 16, 1, 4, 1))
        if kind == "baseline"
        else FlamingoDetector(
            tiny_model("llama"), tiny_tokenizer(), FlamingoConfig(base, 16, 1, 4, gates=1, every=1)
        )
    )
    detector.temperature = 2.0
    detector.eval().push_to_hub("me/judge")
    assert published(hub / "me/judge") == {"config.json", "model.safetensors", "README.md"}
    clips = [np.random.default_rng(0).integers(1, 256, (3, 24, 24, 3), np.uint8)]
    for again in (
        load_detector("me/judge", "cpu"),
        SuccessDetector.from_pretrained("me/judge", device="cpu"),
        type(detector).from_pretrained(hub / "me/judge", device="cpu"),
    ):
        assert again.temperature == 2.0
        answer = again.answer(clips, [ASKED])[0]
        assert answer == pytest.approx(detector.answer(clips, [ASKED])[0], abs=0.01)
    other = FlamingoDetector if kind == "baseline" else BaselineDetector
    with pytest.raises(BadInput, match=f"holds a {type(detector).__name__}, not a"):
        other.from_pretrained("me/judge", device="cpu")


def test_an_adapter_comes_back_from_the_hub(hub: Path, base: str, tmp_path: Path) -> None:
    options = PlannerOptions(cache=tmp_path, device="cpu", dtype="float32")
    policy = PlannerPolicy(
        tiny_model("llama"), tiny_tokenizer(), rank=2, seed=0, examples=0, options=options
    )
    with torch.no_grad():
        for k, p in enumerate(policy.parameters().values()):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    save_adapter(policy, tmp_path / "adapter", base)
    planner = LanguagePlanner.from_pretrained(tmp_path / "adapter", options)
    assert planner.push_to_hub("me/planner") == "commit of me/planner"
    files = {"adapter_config.json", "adapter_model.safetensors", "planner.json"}
    assert published(hub / "me/planner") == files
    planner.save_pretrained(tmp_path / "copy")
    assert published(tmp_path / "copy") == files
    expected = planner.choose([dialogue(TASK)])[0].scores
    whole = make_planner(base, replace(options, examples=0)).choose([dialogue(TASK)])[0].scores
    assert expected != whole
    adapted = make_planner(base, replace(options, adapter=Path("me/planner")))
    for again in (
        make_planner("me/planner", options),
        LanguagePlanner.from_pretrained("me/planner", options),
        adapted,
    ):
        assert again.choose([dialogue(TASK)])[0].scores == pytest.approx(expected)
    with pytest.raises(BadInput, match="has no adapter to publish"):
        LanguagePlanner.from_pretrained(base, options).push_to_hub("me/nothing")


def test_no_pickle_is_ever_taken(hub: Path, tmp_path: Path) -> None:
    """Not even where a repository has nothing else, as the mixin itself would do."""

    class Fetched(Exception):
        """A pickle was opened."""

    ActorNetwork(channels=8, width=16).save_pretrained(hub / "me/pickled")
    (hub / "me/pickled/model.safetensors").unlink()
    torch.save({}, hub / "me/pickled/pytorch_model.bin")

    def opened(*_: Any, **__: Any) -> None:
        raise Fetched

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "load", opened)
        with pytest.raises(BadInput, match=r"model\.safetensors is missing"):
            ActorNetwork.from_pretrained("me/pickled")
    assert not any(Path("pytorch_model.bin").match(pattern) for pattern in FILES)


def test_the_mixin_is_huggingface_hubs() -> None:
    for network in (ActorNetwork, ReporterNetwork, SuccessDetector):
        assert issubclass(network, PyTorchModelHubMixin)
        assert network.push_to_hub is PyTorchModelHubMixin.push_to_hub
