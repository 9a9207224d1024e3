"""References: one way to name a Planner, an Actor, a Reporter or a detector."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.actor.registry import ACTOR, check_actor, make_actor
from agents.planner.registry import PLANNER, check_planner, make_planner
from agents.reporter.registry import REPORTER, check_reporter, make_reporter
from envs.errors import BadInput
from models import references
from models.references import Part, label_of, part_of, resolve, weights_folder
from rewards.success_vqa.loading import DETECTOR, check_detector, load_detector

PARTS = (PLANNER, ACTOR, REPORTER, DETECTOR)
CONFIGS: dict[str, dict[str, Any]] = {
    "actor": {"channels": 2, "heads": 1, "width": 4},
    "reporter": {"kind": "reporter"},
    "detector": {"kind": "baseline"},
    "model": {"architectures": ["LlamaForCausalLM"]},
}
CHECKS: dict[str, Callable[[str], Any]] = {
    "planner": check_planner,
    "actor": check_actor,
    "reporter": check_reporter,
    "detector": check_detector,
}


def weights(folder: Path, part: str) -> Path:
    """A folder that looks like one with a part's weights."""
    folder.mkdir(parents=True)
    if part == "planner":
        for file in ("adapter_config.json", "planner.json", "adapter_model.safetensors"):
            (folder / file).write_text("{}")
    else:
        (folder / "config.json").write_text(json.dumps(CONFIGS[part]))
        (folder / "model.safetensors").write_text("")
    return folder


def run_folder(folder: Path, part: str, *checkpoints: str) -> Path:
    for name in checkpoints:
        weights(folder / "checkpoints" / name, part)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"command": f"train-{part}"}))
    return folder


@pytest.mark.parametrize("part", PARTS, ids=lambda p: p.name)
def test_every_part_is_found_in_the_same_places(
    part: Part, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_folder(tmp_path / "20260102-030405-mine", part.name, "first", "final")
    with caplog.at_level(logging.WARNING):
        for given in (run, run / "checkpoints", run / "checkpoints" / "final"):
            found = resolve(part, str(given))
            assert found.kind == "folder" and Path(found.target) == run / "checkpoints" / "final"
            assert found.label == "20260102-030405-mine"
    assert "also there" in caplog.text and str(run / "checkpoints" / "first") in caplog.text
    other = resolve(part, str(run / "checkpoints" / "first"))
    assert other.label == "20260102-030405-mine-first"
    assert weights_folder(str(run), part) == run / "checkpoints" / "final"
    assert resolve(part, "somebody/weights").label == "somebody--weights"
    name = next(iter(part.shipped()))
    assert resolve(part, name).label == name


@pytest.mark.parametrize("part", PARTS, ids=lambda p: p.name)
def test_what_is_none_is_refused_in_one_sentence(part: Part, tmp_path: Path) -> None:
    check = CHECKS[part.name]
    for other in PARTS:
        if other.name != part.name:
            run = run_folder(tmp_path / other.name / "run", other.name, "final")
            with pytest.raises(BadInput, match=f"and not of an? {part.name.capitalize()}|and not"):
                check(str(run))
    unfinished = run_folder(tmp_path / "unfinished", part.name, "first")
    with pytest.raises(BadInput, match=f"python -m run train-{part.name} --resume"):
        check(str(unfinished))
    for file in references._FILES[part.name][1:]:
        cut = weights(tmp_path / f"without {file}", part.name)
        (cut / file).unlink()
        with pytest.raises(BadInput, match=f"no complete weights of .*{file} is missing"):
            check(str(cut))
    with pytest.raises(BadInput, match=r"; did you mean '.*unfinished'"):
        check(str(tmp_path / "unfinishe"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"no config.json"):
        check(str(tmp_path / "empty"))
    played = tmp_path / "played"
    played.mkdir()
    for command in ("episode", "train-solo"):
        (played / "config.json").write_text(json.dumps({"command": command}))
        with pytest.raises(BadInput, match=f"run folder of '{command}', which has no weights"):
            check(str(played))
    other = "reporter" if part.name == "actor" else "actor"
    (played / "config.json").write_text(json.dumps({"command": f"train-{other}"}))
    with pytest.raises(BadInput, match=f"holds the weights of an? {other.title()}, and not of"):
        check(str(played))
    with pytest.raises(BadInput, match="there is no file or folder"):
        check(str(tmp_path / "nothing"))
    with pytest.raises(BadInput, match=f"unknown {part.name} 'no-such'"):
        check("no-such")
    near = next(iter(part.registry))
    with pytest.raises(BadInput, match=f"did you mean '{near}'"):
        check(f"{near}x")
    with pytest.raises(BadInput, match="is empty"):
        check(" ")
    with pytest.raises(BadInput, match="cannot be imported"):
        check("no_such_module:Class")


@pytest.mark.parametrize("part", PARTS, ids=lambda p: p.name)
def test_a_class_of_a_users_module_is_taken_if_it_has_the_methods(
    part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = "\n".join(f"    def {m}(self, *given): return []" for m in part.methods)
    module = f"users_{part.name}"
    (tmp_path / f"{module}.py").write_text(
        f"class Mine:\n    verbs = None\n    tells_views = False\n{methods}\n"
        f"class Wrong:\n    def {part.methods[0]}x(self): pass\nnumber = 3\nthing = Mine()\n"
        "def maker(*offered): return Mine()\ndef bare(): return Mine()\n"
        "def greedy(a, b, c): return Mine()\ndef nothing(*offered): return None\n"
        f"class Plain:\n{methods}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    make: Callable[[str], Any] = {
        "planner": make_planner,
        "actor": make_actor,
        "reporter": make_reporter,
        "detector": load_detector,
    }[part.name]
    assert type(make(f"{module}:Mine")).__name__ == "Mine"
    assert make(f"{module}:thing") is sys.modules[module].thing
    assert CHECKS[part.name](f"{module}:Mine").label == "Mine"
    for factory in ("maker", "bare"):
        assert CHECKS[part.name](f"{module}:{factory}").kind == "module"
        assert type(make(f"{module}:{factory}")).__name__ == "Mine"
    # What a Reporter takes depends on its options.
    with pytest.raises(BadInput, match=f"{part.name} '{module}:greedy' cannot be made: missing"):
        (make if part.offers is None else CHECKS[part.name])(f"{module}:greedy")
    with pytest.raises(BadInput, match=r"nothing is no .*it has no method"):
        make(f"{module}:nothing")
    if part.attributes:
        with pytest.raises(BadInput, match=f"it has no attribute {part.attributes[0]}"):
            make(f"{module}:Plain")
    with pytest.raises(BadInput, match=rf"it has no method {part.methods[0]}\(\)"):
        CHECKS[part.name](f"{module}:Wrong")
    with pytest.raises(BadInput, match="it has no method"):
        CHECKS[part.name](f"{module}:number")
    with pytest.raises(BadInput, match=r"unknown attribute .*did you mean 'Mine'"):
        CHECKS[part.name](f"{module}:Min")


def test_a_module_that_fails_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match="cannot be imported: division by zero"):
        check_planner("broken_module:Mine")


def test_only_a_planner_may_be_on_a_server_or_in_a_gguf_file(tmp_path: Path) -> None:
    assert check_planner("openai:some/model").kind == "server"
    with pytest.raises(BadInput, match="names no model"):
        check_planner("openai:")
    file = tmp_path / "model.gguf"
    file.write_bytes(b"")
    assert check_planner(str(file)).kind == "file"
    with pytest.raises(BadInput, match="is a file, and no actor can be made of it"):
        check_actor(str(file))


def test_shipped_weights_are_known_for_what_they_are() -> None:
    for part in PARTS:
        for name, folder in part.shipped().items():
            if folder is not None:
                assert part_of(folder) == part.name, name


def test_training_starts_from_any_weights_that_fit(tmp_path: Path) -> None:
    assert weights_folder("detector", REPORTER, DETECTOR) == DETECTOR.shipped()["detector"]
    assert weights_folder("learned", REPORTER, DETECTOR) == REPORTER.shipped()["learned"]
    with pytest.raises(BadInput, match="an Actor, and not of a Reporter"):
        weights_folder(str(weights(tmp_path / "a", "actor")), REPORTER, DETECTOR)
    with pytest.raises(BadInput, match="training can start from"):
        weights_folder("smollm2-135m", PLANNER)


def test_a_hub_repository_is_asked_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    held = weights(tmp_path / "hub", "actor")
    asked: list[list[str]] = []

    def snapshot(hub_id: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(held)

    monkeypatch.setattr(references, "on_hub", lambda name, file="": name)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file: str(held / file))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert references.hub_folder(ACTOR, "some/actor") == held
    assert not any("bin" in p or "pt" in p.split(".") or "pkl" in p for p in asked[0])
    with pytest.raises(BadInput, match="of an Actor, and not of a Reporter"):
        make_reporter("some/actor")
    (held / "config.json").write_text(json.dumps(CONFIGS["model"]))
    assert references.hub_folder(REPORTER, "some/model") is None
    assert check_planner("some/model").label == "some--model"
    with pytest.raises(BadInput, match="of a model of transformers, and not of an Actor"):
        check_actor("some/model")


def test_a_hub_id_without_network_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    for make in (make_planner, make_actor, make_reporter, load_detector, *CHECKS.values()):
        with pytest.raises(BadInput, match=r"the model hub does not give it .no route to host"):
            make("nobody/nothing-at-all")


def test_labels_tell_runs_apart() -> None:
    for given, label in (
        ("runs/train-planner/1-a/checkpoints/final", "1-a"),
        ("runs/train-planner/1-a/checkpoints/imitation", "1-a-imitation"),
        ("runs/train-planner/1-a/checkpoints", "1-a"),
        ("runs/train-planner/1-a/", "1-a"),
        ("runs/../x/train-planner/1-a/checkpoints/final/", "1-a"),
        ("/data/mine/final", "mine"),
        ("agents/actor/weights", "actor"),
        ("my/adapter/", "adapter"),
        ("my/adapter", "my--adapter"),
        ("./my/adapter", "adapter"),
        ("models/tiny q8.gguf", "tiny-q8"),
        ("openai:org/model-7b", "org-model-7b"),
        ("my_module:Careful", "Careful"),
        ("python:mine", "mine"),
        ("parley-135m", "parley-135m"),
    ):
        assert label_of(given) == label, given
