"""The three parts of a team as the loop calls them, each a small protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from agents.dialogue import Decision, Dialogue, Rollout
from agents.messages import NOTHING, Report
from envs.commands import Command
from envs.worlds import Worlds

OnStep = Callable[[Worlds], None]
"""Called with the worlds after each low-level step of the batch."""


class TeamMember:
    """Defaults that Planners, Actors and Reporters may inherit.

    Only privileged parts (the oracle Planner, the scripted Actor, the checks of reports) and those
    that look at observations keep the worlds that `begin` hands over.
    """

    tells_facts = False
    """Of a Reporter: whether ``agents.reporter.facts.is_true`` can check its reports."""
    tells_views = False
    """Of a Reporter: whether it describes the view, as the Actor ``direct`` needs."""
    verbs: tuple[str, ...] | None = None
    """Of an Actor: the verbs that it understands; None for those of the world."""

    def begin(self, worlds: Worlds) -> None:
        """Called when a group of episodes starts, after every world has been reset."""

    def on_step(self, worlds: Worlds) -> None:
        """Called, of a Reporter, after each low-level step of the Actor."""

    def opening(self, worlds: Worlds, i: int) -> Report:
        """Of a Reporter: the report on world i before the Planner's first command."""
        return NOTHING


class Planner(Protocol):
    """Chooses the next command for each dialogue, one batched call for all of them."""

    def begin(self, worlds: Worlds) -> None:
        """Called when a group of episodes starts, after every world has been reset.

        Args:
            worlds: The group's worlds, for privileged Planners only.
        """

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        """The next command of each dialogue.

        Args:
            dialogues: The episodes that still go on, at least one, each with its task sentence and
                its turns so far.

        Returns:
            One decision a dialogue, in the same order. A decision whose ``command`` is None is a
            turn without a step; one whose ``error`` is set ends its episode as an error.

        Raises:
            BadInput: For what the user has to mend; the run stops. Any other exception ends all
                episodes of the group as errors.
        """


class Actor(Protocol):
    """Carries out one command in each world, all worlds stepped together."""

    verbs: tuple[str, ...] | None

    def begin(self, worlds: Worlds) -> None:
        """Called when a group of episodes starts, after every world has been reset.

        Args:
            worlds: The group's worlds, with ``worlds.images [N, v, v, 3] uint8``.
        """

    def execute(
        self,
        worlds: Worlds,
        commands: Sequence[Command | None],
        max_steps: int,
        on_step: OnStep | None = None,
    ) -> list[Rollout | None]:
        """Step the worlds until each command has ended.

        Args:
            worlds: The group's N worlds.
            commands: N commands; None leaves that world alone.
            max_steps: The most low-level steps of one command, at least 1.
            on_step: Called after each step of the batch.

        Returns:
            N rollouts, None where there was no command.

        Raises:
            BadInput: For a command that the Actor does not take.
        """


class Reporter(Protocol):
    """Turns each rollout into the report that the Planner reads."""

    tells_views: bool

    def begin(self, worlds: Worlds) -> None:
        """Called when a group of episodes starts, after every world has been reset.

        Args:
            worlds: The group's worlds.
        """

    def opening(self, worlds: Worlds, i: int) -> Report:
        """The report on world i before the first command; `agents.messages.NOTHING` for none.

        Called before `begin`, as soon as world i has been reset.
        """

    def on_step(self, worlds: Worlds) -> None:
        """Called after each low-level step of the Actor, with the observations that it led to."""

    def report(self, rollouts: Sequence[Rollout], dialogues: Sequence[Dialogue]) -> list[Report]:
        """One report for each rollout.

        Args:
            rollouts: The rollouts of the worlds that had a command, which may be none.
            dialogues: Their dialogues before this turn, in the same order; ``dialogue.world`` is
                the place of its world in the batch.

        Returns:
            As many reports, in the same order. The team also takes plain strings from a user's own
            Reporter and grounds them (`agents.grounding.ground`).

        Raises:
            BadInput: For what the user has to mend; the run stops.
        """
