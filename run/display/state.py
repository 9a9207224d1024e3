"""The stage: what there is to see of a group of episodes, for the live view and the videos."""

from __future__ import annotations

from collections.abc import Sequence

from agents.dialogue import PLANNER, Decision, Dialogue, script
from agents.team import Callback, Episode
from envs.worlds import Worlds


class DisplayState(Callback):
    """Keeps each episode's dialogue and last decision, and how it ended.

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

    def script(self, i: int) -> list[tuple[str, str]]:
        """The dialogue so far as (who, text), with what is being carried out right now."""
        dialogue = self.dialogues[i]
        said = script(dialogue.task, dialogue.opening, dialogue.turns)
        if i in self.pending:
            said.append((PLANNER, self.decisions[i].said))
        return said

    def best(self, i: int, n: int) -> list[tuple[str, float, bool]]:
        """The last decision's ``n`` best candidates: (sentence, score, whether it was said)."""
        decision = self.decisions.get(i)
        if decision is None:
            return []
        ranked = sorted(decision.scores.items(), key=lambda pair: -pair[1])[:n]
        return [(sentence, score, sentence == decision.said) for sentence, score in ranked]


class CallbackList(Callback):
    """Several watchers as one, called in turn."""

    def __init__(self, watchers: Sequence[Callback]) -> None:
        self.watchers = tuple(watchers)

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        for watcher in self.watchers:
            watcher.on_begin(worlds, dialogues)

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        for watcher in self.watchers:
            watcher.on_decision(i, dialogue, decision)

    def on_step(self, worlds: Worlds) -> None:
        for watcher in self.watchers:
            watcher.on_step(worlds)

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        for watcher in self.watchers:
            watcher.on_report(i, dialogue)

    def on_end(self, i: int, episode: Episode) -> None:
        for watcher in self.watchers:
            watcher.on_end(i, episode)


def verdict(episode: Episode) -> str:
    """``success in 2 turns, 14 steps``"""
    how = {
        "success": "success",
        "failure": "failure",
        "max_turns": "out of turns" if episode.success is None else "failure, out of turns",
        "max_steps": "failure, out of steps",
        "judged by nobody": "ended, judged by nobody",
        "error": "broke",
    }[episode.ended]
    turns, steps = len(episode.turns), episode.steps
    after = "in" if episode.ended in ("success", "failure") else "after"
    return f"{how} {after} {_count(turns, 'turn')}, {_count(steps, 'step')}"


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
