"""The trainer, its callbacks and its checkpoints, on a stage that can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from envs.errors import BadInput
from models.training import checkpoints
from models.training.callbacks import (
    CheckpointCallback,
    SaveWeightsCallback,
    ValidationCallback,
)
from models.training.checkpoints import CheckpointManager, TrainingCheckpoint, pack, unpack
from models.training.trainer import Stage, Trainer, TrainerCallback, ValidationResult
from tests.models.training.recorder import StepRecorder


class Counting(Stage):
    """Step k adds k + 1 to ``weights["x"]``; validation's scores are given."""

    def __init__(
        self, name: str, steps: int, weights: dict[str, torch.Tensor], *scores: float
    ) -> None:
        self.name = name
        self.steps = steps
        self.weights = weights
        self.scores = list(scores)
        self.calls: list[str] = []

    def begin(self) -> None:
        self.calls.append("begin")

    def step(self, k: int) -> Mapping[str, float]:
        self.weights["x"] += k + 1
        return {"loss": float(self.weights["x"])}

    def end(self) -> None:
        self.calls.append("end")

    def close(self) -> None:
        self.calls.append("close")

    def validate(self) -> ValidationResult | None:
        return ValidationResult(self.scores.pop(0), "by hand") if self.scores else None

    def state_dict(self) -> dict[str, Any]:
        return dict(pack(weights=self.weights))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.calls.append("load")
        unpack(state, weights=self.weights)


def weights() -> dict[str, torch.Tensor]:
    return {"x": torch.zeros(())}


def restore(into: dict[str, torch.Tensor]) -> Any:
    return lambda best: into["x"].copy_(best["x"])


class Order(TrainerCallback):
    """Keeps the order of all calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_train_begin(self, trainer: Trainer) -> None:
        self.calls.append("train begin")

    def on_stage_begin(self, trainer: Trainer) -> None:
        self.calls.append(f"{trainer.stage.name} begin {trainer.step}")

    def on_step_end(self, trainer: Trainer) -> None:
        self.calls.append(f"step {trainer.total_step}")

    def on_validation(self, trainer: Trainer, result: ValidationResult) -> None:
        self.calls.append(f"validation {result.score}")

    def on_stage_end(self, trainer: Trainer) -> None:
        self.calls.append(f"{trainer.stage.name} end")

    def on_train_end(self, trainer: Trainer) -> None:
        self.calls.append("train end")

    def close(self) -> None:
        self.calls.append("close")


def test_stages_and_callbacks_run_in_order() -> None:
    x, order = weights(), Order()
    stages = [Counting("one", 2, x, 0.5), Counting("two", 1, x)]
    validation = ValidationCallback(2, lambda: x, restore(x))
    trainer = Trainer(stages, [order, validation])
    trainer.train()
    assert order.calls == [
        *("train begin", "one begin 0", "step 1", "step 2", "validation 0.5", "one end"),
        *("two begin 0", "step 3", "two end", "train end", "close"),
    ]
    assert [stage.calls for stage in stages] == [["begin", "end", "close"]] * 2
    assert x["x"] == 1 + 2 + 1
    assert trainer.metrics == {"loss": 4.0}


def test_what_is_open_is_closed_after_an_error_too() -> None:
    order, stage = Order(), Counting("one", 3, weights())
    with pytest.raises(KeyboardInterrupt):
        Trainer([stage], [order, StepRecorder(stop_after=2)]).train()
    assert order.calls[-1] == "close" and stage.calls == ["begin", "close"]


@pytest.mark.parametrize("at", range(5))
def test_a_resumed_run_ends_as_one_that_was_not_stopped(at: int, tmp_path: Path) -> None:
    def run(resume: TrainingCheckpoint | None) -> tuple[float, dict[str, float], StepRecorder]:
        x, recorder = weights(), StepRecorder()
        # A resumed run validates what is left alone.
        scores = [0.3, 0.9, 0.1, 0.2, 0.2][0 if resume is None else at + 1 :]
        first, second = scores[: max(0, len(scores) - 2)], scores[-2:]
        stages = [Counting("one", 3, x, *first), Counting("two", 2, x, *second)]
        validation = ValidationCallback(1, lambda: x, restore(x))
        Trainer(stages, [validation, recorder]).train(resume)
        return float(x["x"]), validation.scores, recorder

    value, scores, recorder = run(None)
    # The best of the first stage is its second step's 1 + 2, of the second the later of two.
    assert value == 1 + 2 + 1 + 2
    assert list(scores.values()) == [0.3, 0.9, 0.1, 0.2, 0.2]
    manager = CheckpointManager(tmp_path / "state", 0)
    manager.save(recorder.checkpoints[at])
    assert run(manager.load())[:2] == (value, scores)


def test_the_best_weights_are_kept_of_each_stage_or_of_all() -> None:
    for across, last, expected in ((False, 0.2, 8.0), (True, 0.2, 3.0), (True, 0.9, 6.0)):
        x = weights()
        saved: dict[str, float] = {}

        def save(stage: str, x: Any = x, saved: dict[str, float] = saved) -> None:
            saved[stage] = float(x["x"])

        stages = [Counting("one", 3, x, 0.9, 0.1), Counting("two", 2, x, last)]
        validation = ValidationCallback(2, lambda x=x: x, restore(x), across_stages=across)  # type: ignore[misc]
        before = SaveWeightsCallback(save, {"two"})
        after = SaveWeightsCallback(save, {"one"})
        Trainer(stages, [before, validation, after]).train()
        assert saved == {"one": 3.0, "two": 6.0}
        assert float(x["x"]) == (6.0 if not across else expected)
        assert validation.best_step() == ("two 2" if last == 0.9 else "one 2")


def test_validation_can_count_all_steps_and_score_the_start() -> None:
    x = weights()
    spoken: list[str] = []
    stages = [Counting("one", 3, x), Counting("two", 3, x, 0.5, 0.25)]
    validation = ValidationCallback(
        *(4, lambda: x, restore(x), spoken.append),
        by_total_step=True,
        at_start=lambda: ValidationResult(0.75),
    )
    Trainer(stages, [validation]).train()
    assert validation.scores == {"the start": 0.75, "4": 0.5, "6": 0.25}
    assert spoken[:2] == [
        "validation after the start: 0.7500",
        "validation after 4: 0.5000 (by hand)",
    ]


def test_checkpoints_are_written_when_they_are_due(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints" / "state.safetensors"
    for seconds, step in ((0.0, 4), (1e9, None)):
        manager = CheckpointManager(file, seconds)
        Trainer([Counting("one", 4, weights())], [CheckpointCallback(manager)]).train()
        saved = manager.load()
        assert (saved.step if saved else None) == step
        file.unlink(missing_ok=True)


def checkpoint(step: int = 3) -> TrainingCheckpoint:
    state = {"model.w": torch.arange(3.0), "loss": 0.1, "rows": [[1, "a"], [2, ""]]}
    callbacks = {"validation": {"scores": {"one 3": 0.5}, "best.w": torch.ones(2)}}
    return TrainingCheckpoint("one", step, 12.5, state, callbacks)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    manager = CheckpointManager(tmp_path / "state", 0)
    assert manager.load() is None
    manager.save(checkpoint(2))
    manager.save(checkpoint())
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    loaded = manager.load()
    assert loaded is not None
    assert (loaded.stage, loaded.step, loaded.seconds) == ("one", 3, 12.5)
    assert loaded.stage_state["loss"] == 0.1
    assert loaded.stage_state["rows"] == [[1, "a"], [2, ""]]
    assert torch.equal(loaded.stage_state["model.w"], torch.arange(3.0))
    assert loaded.callback_states["validation"]["scores"] == {"one 3": 0.5}
    assert torch.equal(loaded.callback_states["validation"]["best.w"], torch.ones(2))


def test_what_cannot_be_resumed_is_refused_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "state"
    manager = CheckpointManager(file, 0)
    manager.save(checkpoint())
    with safe_open(file, "pt") as stored:
        head = stored.metadata()
        tensors = {n: stored.get_tensor(n) for n in stored.keys()}  # noqa: SIM118
    save_file(tensors, file, {**head, "format": json.dumps(99)})
    with pytest.raises(BadInput, match=r"another version of Parley \(format 99, here 2\).*anew$"):
        manager.load()
    # As versions before the format was numbered wrote it.
    save_file(tensors, file, {"stage": json.dumps("imitation"), "step": "3"})
    with pytest.raises(BadInput, match=r"another version of Parley \(format 1, here 2\)"):
        manager.load()
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(BadInput, match="cannot be read"):
        manager.load()
    with pytest.raises(BadInput, match="is of the stage 'one'; this run has two"):
        Trainer([Counting("two", 1, weights())]).train(checkpoint())


def test_a_checkpoint_of_another_network_changes_nothing() -> None:
    net, optimiser = _trained(3)
    before = {n: t.clone() for n, t in net.state_dict().items()}
    other, other_optimiser = _trained(2)
    state = pack(other_optimiser, model=other.state_dict())
    with pytest.raises(BadInput, match=r"of another network: model.weight does not fit"):
        unpack(state, optimiser, model=net.state_dict())
    with pytest.raises(BadInput, match=r"of another network: optimiser.0.exp_avg does not fit"):
        unpack(state, optimiser)
    with pytest.raises(BadInput, match=r"of another network: model.bias does not fit"):
        unpack({"model.weight": net.weight}, model=net.state_dict())
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


def test_an_optimiser_goes_on_with_its_moments() -> None:
    net, optimiser = _trained(3)
    state = pack(optimiser, model=net.state_dict())
    other, other_optimiser = torch.nn.Linear(3, 1), None
    other_optimiser = torch.optim.AdamW(other.parameters(), 0.1)
    unpack(state, other_optimiser, model=other.state_dict())
    for network, its in ((net, optimiser), (other, other_optimiser)):
        its.zero_grad()
        network(torch.full((1, 3), 2.0)).sum().backward()
        its.step()
    assert torch.equal(net.weight, other.weight) and torch.equal(net.bias, other.bias)


def _trained(size: int) -> tuple[torch.nn.Linear, torch.optim.AdamW]:
    net = torch.nn.Linear(size, 1)
    optimiser = torch.optim.AdamW(net.parameters(), 0.1)
    net(torch.ones(1, size)).sum().backward()
    optimiser.step()
    return net, optimiser


def test_a_checkpoint_is_due_when_its_seconds_have_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    manager = CheckpointManager(tmp_path / "checkpoint.safetensors", 60.0)
    assert manager.is_due()
    manager.save(TrainingCheckpoint("stage", 1, 0.0, {}, {}))
    due = []
    for now[0] in (1000.0, 1059.0, 1060.0):
        due.append(manager.is_due())
    assert due == [False, False, True]
