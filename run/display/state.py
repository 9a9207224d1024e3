"""The display state: what the live view and the videos show of a group of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.dialogue import PLANNER, THOUGHT, Decision, Dialogue, kind_of_scores, one_line, script
from agents.episode import CONTEXT, Episode
from agents.team import Callback
from envs.worlds import Worlds


@dataclass(frozen=True)
class EpisodeDisplay:
    """One episode at one moment.

    Attributes:
        dialogue: the task and the turns so far.
        decision: the Planner's last decision; None before the first.
        pending: whether that decision has no report yet.
        episode: what came of the episode; None while it goes on.
        step: how many low-level steps were taken.
    """

    dialogue: Dialogue
    decision: Decision | None
    pending: bool
    episode: Episode | None
    step: int

    def script(self) -> list[tuple[str, str]]:
        """The dialogue so far as (speaker, text), with the command that is being carried out."""
        lines = script(self.dialogue.task, self.dialogue.opening, self.dialogue.turns)
        if self.pending and self.decision is not None:
            if self.decision.thought:
                lines.append((THOUGHT, one_line(self.decision.thought)))
            lines.append((PLANNER, self.decision.utterance))
        return lines

    def best(self, n: int) -> list[tuple[str, float, bool]]:
        """The last decision's ``n`` best candidates: (sentence, score, whether it was chosen)."""
        if self.decision is None:
            return []
        ranked = sorted(self.decision.scores.items(), key=lambda pair: -pair[1])[:n]
        return [
            (sentence, score, sentence == self.decision.utterance) for sentence, score in ranked
        ]

    @property
    def kind_of_scores(self) -> str:
        """What the bars of `best` show."""
        return kind_of_scores({} if self.decision is None else self.decision.scores)

    def status(self) -> str:
        """A line such as ``The Actor acts · step 3``, and at the end how the episode ended."""
        if self.episode is not None:
            text = verdict(self.episode)
            return f"{text[0].upper()}{text[1:]}"
        activity = "The Actor acts" if self.pending else "The Planner thinks"
        return f"{activity} · step {self.step}"


class DisplayState(Callback):
    """Keeps each episode's dialogue, its last decision, and how it ended.

    ``pending`` holds the episodes whose last decision has no report yet.
    """

    def __init__(self) -> None:
        self.worlds: Worlds | None = None
        self.dialogues: dict[int, Dialogue] = {}
        self.decisions: dict[int, Decision] = {}
        self.pending: set[int] = set()
        self.ended: dict[int, Episode] = {}

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        self.worlds = worlds
        self.dialogues = {d.world: d for d in dialogues}

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        self.dialogues[i] = dialogue
        self.decisions[i] = decision
        self.pending.add(i)

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        self.dialogues[i] = dialogue
        self.pending.discard(i)

    def on_end(self, i: int, episode: Episode) -> None:
        self.ended[i] = episode

    def display(self, i: int) -> EpisodeDisplay:
        """Episode i as it is now. It must have begun."""
        assert self.worlds is not None
        return EpisodeDisplay(
            self.dialogues[i],
            self.decisions.get(i),
            i in self.pending,
            self.ended.get(i),
            int(self.worlds.steps[i]),
        )


class CallbackList(Callback):
    """Several callbacks as one, called in turn."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = tuple(callbacks)

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        for callback in self.callbacks:
            callback.on_begin(worlds, dialogues)

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        for callback in self.callbacks:
            callback.on_decision(i, dialogue, decision)

    def on_step(self, worlds: Worlds) -> None:
        for callback in self.callbacks:
            callback.on_step(worlds)

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        for callback in self.callbacks:
            callback.on_report(i, dialogue)

    def on_end(self, i: int, episode: Episode) -> None:
        for callback in self.callbacks:
            callback.on_end(i, episode)


def verdict(episode: Episode) -> str:
    """How an episode ended: ``success in 2 turns, 14 steps``."""
    how = {
        "success": "success",
        "failure": "failure",
        "max_turns": "out of turns" if episode.success is None else "failure, out of turns",
        "max_steps": "failure, out of steps",
        CONTEXT: "failure, no room in the language model's context",
        "judged by nobody": "ended, judged by nobody",
        "error": "broke",
    }[episode.ended]
    turns, steps = len(episode.turns), episode.steps
    after = "in" if episode.ended in ("success", "failure") else "after"
    return f"{how} {after} {_count(turns, 'turn')}, {_count(steps, 'step')}"


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
