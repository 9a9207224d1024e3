"""Messages from the Reporter: text for the Planner, and the same as data for everything else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from envs.attributes import Attribute
from envs.commands import Command
from envs.items import Item


@dataclass(frozen=True)
class Fact:
    """What a report states of one item or door: ``predicate``, its ``value`` where it takes one,
    and whether it ``holds``.

    The predicates are those of `envs.attributes`: ``Fact(ring, "floor", "blue")``,
    ``Fact(door, "locked")``, ``Fact(ring, "beside a wall", holds=False)``.
    """

    subject: Item
    predicate: str
    value: str = ""
    holds: bool = True

    @classmethod
    def of(cls, subject: Item, attribute: Attribute) -> Fact:
        return cls(subject, attribute.predicate, attribute.value, attribute.holds)

    @property
    def attribute(self) -> Attribute:
        return Attribute(self.predicate, self.value, self.holds)


@dataclass(frozen=True)
class Report:
    """One report of the Reporter.

    ``text`` is all that a language model ever sees of it. Everything else reads the data: the
    ``facts`` that it states, the commands that it calls carried out (``done``) and those that it
    says were not (``not_managed``), each in the order of the text. `agents.grounding.ground` makes
    the data where there is only text.

    ``error`` is why the Reporter failed for this rollout; the other fields then mean nothing, and
    the episode ends as an error.
    """

    text: str
    facts: tuple[Fact, ...] = ()
    done: tuple[Command, ...] = ()
    not_managed: tuple[Command, ...] = ()
    error: Exception | None = field(default=None, repr=False)

    def done_items(self, verb: str) -> frozenset[Item]:
        """The items with which the report says that ``verb`` was carried out."""
        return frozenset(c.item for c in self.done if c.verb == verb)

    def denies(self, command: Command) -> bool:
        """Whether the report says that this command was not managed, and not that it was done.

        The report may name the item in more or in fewer words than the command.
        """
        return _includes(self.not_managed, command) and not _includes(self.done, command)


def _includes(commands: Iterable[Command], command: Command) -> bool:
    return any(
        other.verb == command.verb
        and (other.item.describes(command.item) or command.item.describes(other.item))
        for other in commands
    )


NOTHING = Report("")
"""The empty report."""
