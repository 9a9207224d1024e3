"""Any vision-language model of transformers as a Reporter, as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.dialogue import Dialogue, Rollout
from agents.grounding import ground
from agents.messages import Report
from agents.protocols import TeamMember
from envs.trajectory import TrajectoryRecorder
from envs.worlds import Worlds
from models.hub import on_hub
from models.vision.vision_language import check_template, inputs_of, load_vision_language, message

ASK = (
    "These are frames of what an agent saw, in order, looking ahead in a room from above. It was "
    "told: {command}. Say in one short sentence, beginning with I, whether it did that and what "
    "can be seen of the thing: where it lies, the colour of the floor under it, any mark."
)
MOST_TOKENS = 48


class VisionLanguageReporter(TeamMember):
    """Reports by a model for images and text, from 8 frames of a rollout and the command: the first
    line of its greedy answer. It never sees the task."""

    tells_facts = True

    def __init__(self, model: Any, processor: Any) -> None:
        """``processor`` is the model's own. Raises BadInput for one without a chat template."""
        check_template(processor)
        self.model = model
        self.processor = processor
        self._trajectories = TrajectoryRecorder()

    def begin(self, worlds: Worlds) -> None:
        # Of the worlds beyond the group's episodes, some may never have been reset.
        self._trajectories.begin(worlds, map(int, np.flatnonzero(~worlds.over)))

    def on_step(self, worlds: Worlds) -> None:
        self._trajectories.on_step(worlds)

    @torch.no_grad()
    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        return [self._one(r, d.world) for r, d in zip(rollouts, dialogues, strict=True)]

    def _one(self, rollout: Rollout, i: int) -> Report:
        frames = self._trajectories.clip(i, rollout.steps)
        prompt = message(frames, ASK.format(command=rollout.command))
        inputs = inputs_of(self.model, self.processor, [prompt], [frames])
        tokens = self.model.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False)
        new = tokens[0, inputs["input_ids"].shape[1] :]
        text = self.processor.tokenizer.decode(new, skip_special_tokens=True).strip()
        return ground(text.splitlines()[0].strip() if text else "", rollout.command)


def load_reporter(name: str, device: str = "auto") -> VisionLanguageReporter:
    """A model by hub id or folder. Raises BadInput where there is none, or none for images."""
    if not Path(name).is_dir():
        on_hub(name)
    return VisionLanguageReporter(*load_vision_language(name, device))
