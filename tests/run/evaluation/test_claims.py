"""The papers' claims: contrasts of rates and what follows from them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

import run.evaluation.claims as claims
from run.__main__ import main
from run.evaluation.claims import CLAIMS, Claim, ClaimRun, Rate, contrast_of
from run.recipes.recipe import read_recipe, settings_class


def test_a_contrast_is_the_weighted_sum_with_its_interval() -> None:
    rates = {("a", ""): Rate(0.8, 99), ("b", ""): Rate(0.5, 99)}
    found = contrast_of(rates, {("a", ""): 1.0, ("b", ""): -1.0})
    # (79.2 + 0.5) / 100 = 0.797 and (49.5 + 0.5) / 100 = 0.5, each over 100.
    half = 1.959964 * ((0.797 * 0.203 + 0.25) / 100) ** 0.5
    assert found.value == pytest.approx(0.3)
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half), abs=1e-6)
    halved = contrast_of(rates, {("a", ""): 0.5})
    assert halved.high - halved.low == pytest.approx(
        1.959964 * (0.797 * 0.203 / 100) ** 0.5, abs=1e-6
    )


@pytest.mark.parametrize(
    ("first", "second", "n", "verdict"),
    [
        (0.9, 0.5, 100, "holds"),
        (0.5, 0.9, 100, "contradicted"),
        (0.55, 0.5, 20, "not shown at this n"),
        (1.0, 1.0, 50, "not shown at this n"),
    ],
)
def test_the_verdict_is_the_intervals(first: float, second: float, n: int, verdict: str) -> None:
    rates = {("a", ""): Rate(first, n), ("b", ""): Rate(second, n)}
    assert contrast_of(rates, {("a", ""): 1, ("b", ""): -1}).verdict == verdict


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda c: c.name)
def test_every_claims_runs_can_be_made(claim: Claim) -> None:
    labels = [r.label for r in claim.runs]
    assert {label for label, _ in claim.contrast} <= set(labels)
    for step in claim.runs:
        for options in (dict(step.options), {**step.options, **step.quick}):
            if "recipe" in options:
                assert read_recipe(str(options["recipe"]), step.command)
            else:
                settings_class(step.command)(**options)


def test_a_claim_is_reproduced_and_its_verdict_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def players(label: str, planner: str) -> ClaimRun:
        options = {"suite": "planner", "planner": planner, "tasks": "search-6-10"}
        return ClaimRun(label, "evaluate", {**options, "episodes": 400}, {"episodes": 10}, (1, 1))

    small = Claim(
        "size-buys-robustness",
        "a paper",
        "Who looks into the world does better than chance.",
        (players("one", "oracle"), players("other", "random")),
        {("one", "search-6-10"): 1.0, ("other", "search-6-10"): -1.0},
    )
    monkeypatch.setitem(claims.CLAIMS, small.name, small)  # type: ignore[arg-type]
    command = ["reproduce", small.name, "--scale", "quick", "--runs-dir", str(tmp_path)]
    assert main(command) == 0
    out = capsys.readouterr().out.splitlines()
    summary = json.loads((Path(out[-1]) / "summary.json").read_text())
    assert summary["rates"]["one search-6-10"] == [1.0, 10]
    assert summary["verdict"] == "holds" and summary["n"] == 20
    assert any(line.endswith(": holds") for line in out)


def test_claims_are_listed_and_an_unknown_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce"]) == 0
    page = capsys.readouterr().out
    assert all(name in page for name in CLAIMS) and "minutes" in page
    assert main(["reproduce", "size-buys-robustnes"]) == 2
    assert "did you mean 'size-buys-robustness'" in capsys.readouterr().err
    assert main(["help", "reproduce"]) == 0
    page = capsys.readouterr().out
    assert all(name in page for name in CLAIMS)


def test_the_page_has_what_the_records_say() -> None:
    """The contrast of irrelevant reports, from the results that are kept."""
    house = Path(__file__).parents[3]
    kept: dict[tuple[str, str], Rate] = {}
    for file in (house / "docs" / "results").glob("planner-*.json"):
        stored = json.loads(file.read_text())
        label = {"smollm2-135m": "small", "qwen2.5-coder-1.5b": "large"}.get(
            stored["config"]["planner"]
        )
        for task in ("conditional", "irrelevant"):
            if label and task in stored["cells"]:
                cell = stored["cells"][task]
                kept[label, task] = Rate(cell["success_rate"], cell["n"])
    found = contrast_of(kept, CLAIMS["size-buys-robustness"].contrast)
    text = (house / "docs" / "claims.md").read_text()
    low, high = (f"{x:+.3f}".replace("-", "\N{MINUS SIGN}") for x in (found.low, found.high))
    assert (
        f"{found.value:+.3f}".replace("-", "\N{MINUS SIGN}") in text
        and low in text
        and high in text
    )
    assert dataclasses.asdict(found) and found.verdict in text


def test_as_good_holds_above_minus_the_margin() -> None:
    rates = {("a", ""): Rate(0.98, 1500), ("b", ""): Rate(0.983, 1500)}
    weights = {("a", ""): 1.0, ("b", ""): -1.0}
    assert contrast_of(rates, weights).verdict == "not shown at this n"
    assert contrast_of(rates, weights, margin=0.05).verdict == "holds"
    worse = {**rates, ("a", ""): Rate(0.9, 1500)}
    assert contrast_of(worse, weights, margin=0.05).verdict == "contradicted"


def test_detectors_are_compared_on_clips_that_are_made_for_it_and_a_stopped_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = CLAIMS["pretrained-beats-bespoke"]
    few = [dataclasses.replace(r, quick={k: 8 for k in r.quick}) for r in full.runs]
    tiny = dataclasses.replace(full, runs=few)
    monkeypatch.setitem(claims.CLAIMS, full.name, tiny)  # type: ignore[arg-type]
    command = ["reproduce", full.name, "--scale", "quick", "--runs-dir", str(tmp_path)]
    assert main(command) == 0
    out = capsys.readouterr().out.splitlines()
    folder = Path(out[-1])
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["rates"]) == {"scores test3 detector", "scores test3 baseline"}
    assert all(0 <= rate <= 1 and n == 8 for rate, n in summary["rates"].values())
    # As if it had been stopped before the scores.
    (folder / "summary.json").unlink()
    shutil.rmtree(next((folder / "runs" / "score-detector").iterdir()))
    assert main(["reproduce", "--resume", str(folder)]) == 0
    again = capsys.readouterr().out
    assert "clips: make-clips has ended" in again and "scores: score-detector\n" in again
    assert json.loads((folder / "summary.json").read_text())["rates"] == summary["rates"]
