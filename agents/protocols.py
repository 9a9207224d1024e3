"""The three parts of a team, as the loop sees them: each a small protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from agents.dialogue import Decision, Dialogue, Rollout
from agents.messages import NOTHING, Report
from envs.commands import Command
from envs.worlds import Worlds

OnStep = Callable[[Worlds], None]


class TeamMember:
    """What Planner, Actor and Reporter share; the cheats and those who look override it."""

    tells_facts = False
    """Of a Reporter: whether its reports are of those that ``agents.reporter.facts`` can check."""
    tells_views = False
    """Of a Reporter: whether it says what is in view, which is all there is to say of a move."""
    verbs: tuple[str, ...] | None = None
    """Of an Actor: the verbs that it understands, where they are not the world's."""

    def begin(self, worlds: Worlds) -> None:
        """Called when a group of episodes starts, after every world has been reset."""

    def on_step(self, worlds: Worlds) -> None:
        """Called, of a Reporter, after each low-level step of the Actors: it may look."""

    def opening(self, worlds: Worlds, i: int) -> Report:
        """Of a Reporter: the report on world i before the Planner's first command."""
        return NOTHING


class Planner(Protocol):
    """Chooses the next command for each dialogue, one batched call for all of them."""

    def begin(self, worlds: Worlds) -> None: ...

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]: ...


class Actor(Protocol):
    """Carries out one command in each world, all worlds stepped together."""

    verbs: tuple[str, ...] | None

    def begin(self, worlds: Worlds) -> None: ...

    def execute(
        self,
        worlds: Worlds,
        commands: Sequence[Command | None],
        max_steps: int,
        on_step: OnStep | None = None,
    ) -> list[Rollout | None]: ...


class Reporter(Protocol):
    """Turns each rollout into the text that the Planner reads."""

    tells_views: bool

    def begin(self, worlds: Worlds) -> None: ...

    def opening(self, worlds: Worlds, i: int) -> Report: ...

    def on_step(self, worlds: Worlds) -> None: ...

    def report(
        self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]
    ) -> list[Report]: ...
