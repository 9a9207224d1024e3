"""benchmarks/planner_speed.py: its reckoning, and one short run with a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from benchmarks.planner_speed import (
    Pass,
    PlannerMeasurements,
    PlannerSpeedOptions,
    dialogues,
    limit_s,
    main,
    summary,
)
from envs.errors import BadInput
from tests.agents.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PARLEY_CACHE", str(tmp_path / "cache"))


def test_the_faster_plain_way_counts() -> None:
    found = PlannerMeasurements("some")
    for what, rates in (
        ("first", [30.0, 10.0, 20.0]),
        ("second", [7.0]),
        ("plain, one by one", [2.0, 1.0, 9.0]),
        ("plain, batched", [4.0, 5.0]),
    ):
        for rate in rates:
            found.add(1, what, rate)
    found.shares[1] = [0.25, 0.5, 0.75]
    told = summary([found])["some"]
    assert told["decisions_per_second"] == {"1": 20.0}
    assert told["vs_plain"] == {"1": round(20 / 4.5, 1)}
    assert told["share_of_limit"] == {"1": 0.5}


def test_the_limit_grows_with_the_work() -> None:
    for kind in ("llama", "gpt2"):
        planner = LanguagePlanner(tiny_model(kind), tiny_tokenizer(), PlannerOptions(examples=0))
        little = limit_s(planner, [Pass(tokens=200, logits=0, attention_flops=0)])
        much = limit_s(planner, [Pass(tokens=20_000, logits=0, attention_flops=0)])
        assert 0 < 3 * little < much


def test_dialogues_go_on_with_the_same_tasks() -> None:
    first, second = dialogues(3, seed=1)
    assert [d.task for d in first] == [d.task for d in second]
    assert {len(d.candidates()) for d in second} == {8}
    assert len({d.task for d in first}) == 3


def test_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    place = tmp_path / "tiny"
    tiny_model("llama").save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    out = tmp_path / "out"
    options = PlannerSpeedOptions(
        (str(place),), (1, 3), rounds=2, plain_rounds=1, dtype="float32", profile=True, output=out
    )
    main(options)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])[str(place)]
    assert set(told["decisions_per_second"]) == set(told["share_of_limit"]) == {"1", "3"}
    assert all(rate > 0 for rate in told["second_turns_per_second"].values())
    assert all(0 < share < 1.5 for share in told["share_of_limit"].values())
    assert told["max_abs_difference"] < 1e-4
    assert set(told["profile"]) == {"1", "3"}
    for shares in told["profile"].values():
        assert sum(shares.values()) == pytest.approx(1, abs=0.01)
        assert min(shares["products"], shares["attention"], shares["others"]) > 0
    assert (out / "plot.png").stat().st_size > 10_000
    rates, profiles = (out / "table.md").read_text("utf-8").split("\n\n")
    assert len(rates.splitlines()) == 2 + 2 * 2 + 2
    assert len(profiles.splitlines()) == 2 + 2


def test_what_is_no_language_model_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no language model"):
        main(PlannerSpeedOptions(("oracle",), output=tmp_path))
    with pytest.raises(BadInput, match="numbers from 1"):
        main(PlannerSpeedOptions(batches=(0,), output=tmp_path))
