"""What a suite consists of: tasks, each with variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envs.errors import BadInput
from run.evaluation.settings import TASK_SEEDS, VARIANT_SEEDS, Items


@dataclass(frozen=True)
class Variant:
    """A share of a task's episodes: an environment with its settings.

    Attributes:
        label: Its name within the task.
        environment: The environment, a name for `envs.tasks.make_worlds`.
        settings: Arguments of the environment's constructor.
        reporter: The Reporter with its options, where the variant has its own.
        actor_fails: The probability with which the Actor fails a command.
        has_items: Whether the environment contains our items; BabyAI has its own objects.
        team: Settings of the team that belong to the variant (see `run.evaluation.teams`).
        where: Where it is described, for error messages.
    """

    label: str
    environment: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    reporter: tuple[str, Mapping[str, Any]] | None = None
    actor_fails: float = 0.0
    has_items: bool = True
    team: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class Task:
    """A task of a suite, which gets one success rate.

    Attributes:
        name: Its name.
        variants: Its variants, which share its episodes.
        floor: The rate that a good Planner must reach.
        chance: The rate that needs no skill: a branch or an item taken at random.
    """

    name: str
    variants: tuple[Variant, ...]
    floor: float | None = None
    chance: float | None = None

    def share(self, episodes: int) -> list[int]:
        """How many of the task's episodes each variant gets: evenly, the first get the rest.

        Raises:
            BadInput: A variant would get none, or more than it has seeds.
        """
        n = len(self.variants)
        if episodes < n:
            raise BadInput(
                f"--episodes {episodes} are too few: task '{self.name}' has {n} variants, so at "
                f"least {n}"
            )
        if episodes > n * VARIANT_SEEDS:
            raise BadInput(
                f"--episodes {episodes} are too many: task '{self.name}' has seeds for "
                f"{n * VARIANT_SEEDS}"
            )
        each, rest = divmod(episodes, n)
        return [each + (k < rest) for k in range(n)]


@dataclass(frozen=True)
class Suite:
    """Tasks, in order.

    Attributes:
        tasks: The tasks.
        items: Which items the rooms contain unless the user chooses others.
        fixed: Whether the user cannot choose others.
        first_seed: Added to all seeds.
        about: What the suite measures.
        notices: What the user should change in the suite's file.
    """

    tasks: tuple[Task, ...]
    items: Items
    fixed: bool = False
    first_seed: int = 0
    about: str = ""
    notices: tuple[str, ...] = ()

    def seed(self, task: Task, variant: Variant, seed: int) -> int:
        """The seed of a variant's first episode, whichever tasks are played.

        Episode i has the seed ``seed + first_seed + 1_000_000 * t + 10_000 * v + i``, with tasks t
        and variants v numbered from 0 as they stand in the suite.
        """
        t, v = self.tasks.index(task), task.variants.index(variant)
        return seed + self.first_seed + TASK_SEEDS * t + VARIANT_SEEDS * v
