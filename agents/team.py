"""The team: the loop that joins Planner, Actor and Reporter, for a batch of episodes.

The outer loop is the dialogue, one turn at a time for all episodes together; the inner loop is
the Actor's rollout (Planner-Actor-Reporter, arXiv 2302.00763, figure 1).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from agents.dialogue import NOT_UNDERSTOOD, Decision, Dialogue, Rollout, Turn, one_line
from agents.episode import CONTEXT, Episode
from agents.grounding import ground
from agents.messages import Report
from agents.protocols import Actor, Planner, Reporter
from envs.commands import Command
from envs.errors import BadInput, ContextOverflow
from envs.worlds import Worlds


class Callback:
    """Hooks into the loop, for live views, videos and recording. Each does nothing by default.

    ``i`` is the place of the episode in its group.
    """

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        """A group of episodes has begun."""

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        """The Planner has made its ``decision`` for ``dialogue``."""

    def on_step(self, worlds: Worlds) -> None:
        """The Actors have taken one step in every world that is active."""

    def on_report(self, i: int, dialogue: Dialogue) -> None:
        """A turn is complete; it is the last of ``dialogue``."""

    def on_end(self, i: int, episode: Episode) -> None:
        """An episode has ended. Called once for each, in the order in which they end."""


class EndEpisode(Protocol):
    """Ends the episode of a dialogue, as an error where there is a traceback."""

    def __call__(
        self, dialogue: Dialogue, error: str | None = None, has_outgrown: bool = False
    ) -> None: ...


@dataclass
class Team:
    """A Planner, an Actor and a Reporter, with the limits of their work.

    ``max_turns`` commands an episode, ``command_steps`` low-level steps a command; where each
    command is a step (the Actor ``direct``), ``command_steps`` commands an episode.
    """

    planner: Planner
    actor: Actor
    reporter: Reporter
    max_turns: int = 20
    command_steps: int = 64

    def __post_init__(self) -> None:
        for name in ("max_turns", "command_steps"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.actor.verbs is not None and not self.reporter.tells_views:
            raise BadInput(
                "where each command is one step (the actor 'direct'), only the reporter 'view' has "
                "something to tell"
            )

    @property
    def most_turns(self) -> int:
        """How many turns an episode can have."""
        return self.max_turns if self.actor.verbs is None else self.command_steps

    def play(
        self, worlds: Worlds, seeds: Sequence[int], callback: Callback | None = None
    ) -> list[Episode]:
        """Play one episode in each of the first ``len(seeds)`` worlds, all of them together.

        Args:
            worlds: The worlds, at least as many as seeds.
            seeds: World i is reset with ``seeds[i]``.
            callback: Hooks into the loop.

        Returns:
            One result for each seed, in their order; otherwise the same as `episodes`.

        Raises:
            BadInput: Where a Planner, Actor or Reporter raises it: the user has to fix that.
        """
        ended = dict(self.episodes(worlds, seeds, callback))
        return [ended[i] for i in range(len(seeds))]

    def episodes(
        self, worlds: Worlds, seeds: Sequence[int], callback: Callback | None = None
    ) -> Iterator[tuple[int, Episode]]:
        """Play as `play` does, and yield each episode as soon as its last turn is over.

        An exception in a Planner, Actor or Reporter ends the affected episodes as errors, with the
        traceback in `Episode.error`.

        Args:
            worlds: The worlds, at least as many as seeds.
            seeds: World i is reset with ``seeds[i]``.
            callback: Hooks into the loop.

        Yields:
            The number of a world and its episode, in the order in which they end. The others stand
            still until the next is asked for.

        Raises:
            BadInput: Where a Planner, Actor or Reporter raises it: the user has to fix that.
        """
        callback = callback or Callback()
        ended: list[tuple[int, Episode]] = []
        dialogues: dict[int, Dialogue] = {}

        def end(dialogue: Dialogue, error: str | None = None, has_outgrown: bool = False) -> None:
            i = dialogue.world
            dialogues.pop(i, None)
            episode = episode_of(dialogue, worlds, error, has_outgrown)
            ended.append((i, episode))
            callback.on_end(i, episode)

        for i, seed in enumerate(seeds):
            try:
                worlds.reset(i, seed)
                opening = _on_one_line(self.reporter.opening(worlds, i))
            except BadInput:
                raise
            except Exception:
                end(Dialogue("", (), world=i, seed=seed), traceback.format_exc())
            else:
                task = one_line(worlds.tasks[i])
                verbs = self.actor.verbs or worlds.verbs(i)
                dialogues[i] = Dialogue(task, verbs, world=i, seed=seed, opening=opening)
        for part in (self.planner, self.actor, self.reporter):
            part.begin(worlds)
        callback.on_begin(worlds, list(dialogues.values()))
        while dialogues or ended:
            # Taken out first: whoever gets an episode may take as long as they like, or stop.
            now, ended[:] = ended.copy(), []
            yield from now
            if not dialogues:
                continue
            try:
                self._turn(worlds, dialogues, end, callback)
            except BadInput:
                raise
            except Exception:
                for dialogue in list(dialogues.values()):
                    end(dialogue, traceback.format_exc())

    def _turn(
        self, worlds: Worlds, dialogues: dict[int, Dialogue], end: EndEpisode, callback: Callback
    ) -> None:
        """One turn of every episode that is still going; ``end`` takes what has ended out of
        ``dialogues``."""
        active = list(dialogues)
        decisions = self.planner.choose([dialogues[i] for i in active])
        decided: dict[int, Decision] = {}
        for i, decision in zip(active, decisions, strict=True):
            if isinstance(decision.error, ContextOverflow):
                end(dialogues[i], has_outgrown=True)
                continue
            if decision.error is not None:
                end(dialogues[i], _trace(decision.error))
                continue
            callback.on_decision(i, dialogues[i], decision)
            decided[i] = decision

        commands = [decided[i].command if i in decided else None for i in range(len(worlds))]

        def on_step(worlds: Worlds) -> None:
            self.reporter.on_step(worlds)
            callback.on_step(worlds)

        rollouts = self.actor.execute(worlds, commands, self.command_steps, on_step)
        carried_out: dict[int, Rollout] = {i: r for i, r in enumerate(rollouts) if r is not None}
        reports = dict(
            zip(
                carried_out,
                self.reporter.report(
                    list(carried_out.values()), [dialogues[i] for i in carried_out]
                ),
                strict=True,
            )
        )
        for i, decision in decided.items():
            report = _on_one_line(reports.get(i, NOT_UNDERSTOOD), decision.command)
            if report.error is not None:
                end(dialogues[i], _trace(report.error))
                continue
            turn = Turn(
                one_line(decision.utterance),
                decision.command,
                report,
                thought=one_line(decision.thought),
            )
            dialogues[i] = dialogues[i].add(turn)
            callback.on_report(i, dialogues[i])
            if worlds.over[i] or len(dialogues[i].turns) >= self.most_turns:
                end(dialogues[i])


def episode_of(
    dialogue: Dialogue, worlds: Worlds, error: str | None = None, has_outgrown: bool = False
) -> Episode:
    """What became of an episode that has ended, that broke with this traceback, or that has
    outgrown the Planner's language model."""
    i = dialogue.world
    judged = worlds.judged(i) and error is None
    success = bool(worlds.success[i])
    if error is not None:
        ended = "error"
    elif has_outgrown:
        ended = CONTEXT
    elif not worlds.over[i]:
        ended = "max_turns"
    elif not judged:
        ended = "judged by nobody"
    elif worlds.truncated[i] and not success:
        ended = "max_steps"
    else:
        ended = "success" if success else "failure"
    return Episode(
        seed=dialogue.seed,
        task=dialogue.task,
        turns=dialogue.turns,
        success=success if judged else None,
        steps=int(worlds.steps[i]),
        ended=ended,
        unparsed=sum(t.command is None for t in dialogue.turns),
        error=error,
        opening=dialogue.opening,
    )


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def _on_one_line(report: Report | str, command: Command | None = None) -> Report:
    """The report with its text on one line, so that it can never pretend to be another turn. The
    plain strings of a user's own Reporter become reports here."""
    if isinstance(report, str):
        return ground(one_line(report), command)
    return replace(report, text=one_line(report.text))
