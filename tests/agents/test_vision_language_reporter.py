"""A vision-language model of transformers as a Reporter: a small random LLaVA."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.actor import make_actor
from agents.dialogue import Dialogue
from agents.planner.registry import make_planner
from agents.reporter import make_reporter
from agents.reporter.vision_language import VisionLanguageReporter
from agents.team import Callback, Team
from envs import make_worlds
from envs.errors import BadInput
from tests.tiny_vision import small


class Heard(Callback):
    """What was reported, in order."""

    def __init__(self) -> None:
        self.reports: list[str] = []

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        self.reports.append(dialogue.turns[-1].report.text)


def played(reporter: VisionLanguageReporter) -> list[str]:
    heard = Heard()
    team = Team(make_planner("oracle"), make_actor("scripted"), reporter, max_turns=2)
    episodes = team.play(make_worlds("visual-conditional", 2), [1, 2], heard)
    assert [e.error for e in episodes] == [None, None]
    return heard.reports


def test_it_reports_what_the_model_says_of_the_frames(tmp_path: Path) -> None:
    model, processor = small()
    first = played(VisionLanguageReporter(model, processor))
    assert len(first) == 4 and any(first) and not any("\n" in r for r in first)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = make_reporter(str(tmp_path), device="cpu")
    assert isinstance(again, VisionLanguageReporter) and played(again) == first


def test_what_is_no_such_model_is_refused(tmp_path: Path) -> None:
    model, processor = small()
    processor.chat_template = None
    with pytest.raises(BadInput, match="has no chat template"):
        VisionLanguageReporter(model, processor)
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(BadInput, match="is no model for images and text"):
        make_reporter(str(tmp_path))
