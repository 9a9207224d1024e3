"""Trajectories: what happened in a world step by step, recorded as numbers and drawn on demand.

One recorder serves everything that looks back at an episode: the Reporters, the reward functions,
the clips of the success detector, the videos and the report page. It keeps no pixels, so a rollout
can be drawn by any camera, at any size, and only at the steps that are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from envs.events import Event
from envs.states import WorldState, WorldStates, stack
from envs.worlds import Worlds

if TYPE_CHECKING:
    from envs.batched.cameras import Camera

CLIP_FRAMES = 8  # the most frames that a model is shown at once


def evenly(start: int, end: int, n: int = CLIP_FRAMES) -> tuple[int, ...]:
    """At most ``n`` distinct steps, evenly spread from ``start`` to ``end``, both included.

    Args:
        start: The first step.
        end: The last step.
        n: The largest number of steps.
    """
    steps = np.linspace(start, end, min(n, end - start + 1)).round().astype(int)
    return tuple(int(s) for s in steps)


def clip_steps(n_steps: int, last: int | None = None, n: int = CLIP_FRAMES) -> tuple[int, ...]:
    """The steps that a clip shows, evenly spread.

    The first is the moment before the clip's first step (0, the start, if there are fewer steps),
    the last is the moment after the last step.

    Args:
        n_steps: The number of steps of the rollout.
        last: Only the last so many steps are shown; None for all.
        n: The largest number of frames.
    """
    start = 0 if last is None else max(0, n_steps - last)
    return evenly(start, n_steps, n)


@dataclass(frozen=True, eq=False)
class Trajectory(WorldStates):
    """The states of one world since its recording began, and the steps between them.

    There are T states and T - 1 steps.

    Attributes:
        actions: MiniGrid's actions, ``[T - 1] int64``.
        events: What happened in each step.
    """

    actions: np.ndarray
    events: tuple[tuple[Event, ...], ...]

    @property
    def n_steps(self) -> int:
        """How many steps were recorded."""
        return len(self) - 1

    def frames(self, steps: Sequence[int], camera: Camera | None = None) -> np.ndarray:
        """What a camera shows after some of the steps (0 is the start).

        Args:
            steps: Numbers from 0 to ``n_steps``.
            camera: The camera; the agent's own view by default.

        Returns:
            ``[len(steps), height, width, 3] uint8``.

        Raises:
            BadInput: The camera needs the whole grid and only views were recorded.
        """
        # numba is loaded only where something is drawn.
        from envs.batched.cameras import AGENT_VIEW

        return (AGENT_VIEW if camera is None else camera).frames(self.at(steps))


@dataclass
class _Recording:
    """The trajectory of one world so far; it began at ``first_step``."""

    states: list[WorldState]
    first_step: int = 0
    actions: list[int] = field(default_factory=list)
    events: list[tuple[Event, ...]] = field(default_factory=list)


class TrajectoryRecorder:
    """Records worlds step by step: ``begin``, then ``on_step`` after each step of the batch.

    ``with_grids`` records all cells and not only what the agents see; pictures of whole rooms need
    them.
    """

    def __init__(self, with_grids: bool = False) -> None:
        self.with_grids = with_grids
        self._recordings: dict[int, _Recording] = {}

    def begin(self, worlds: Worlds, which: Iterable[int]) -> None:
        """Drop all recordings, and start recording these worlds in their current state.

        They must have been reset before. Step 0 of a recording is this moment.

        Args:
            worlds: The batch of worlds.
            which: The numbers of the worlds to record.
        """
        which = list(which)
        self._recordings = {}
        for i, state in zip(which, worlds.states(which, with_grids=self.with_grids), strict=True):
            self._recordings[i] = _Recording([state], first_step=int(worlds.steps[i]))

    def on_step(self, worlds: Worlds) -> None:
        """Record the latest step, in those worlds that took it."""
        moved = [
            i
            for i, recording in self._recordings.items()
            if worlds.steps[i] - recording.first_step >= len(recording.states)
        ]
        states = worlds.states(moved, with_grids=self.with_grids)
        for i, state in zip(moved, states, strict=True):
            self.add(i, state, int(worlds.last_actions[i]), worlds.events[i])

    def start(self, i: int, state: WorldState) -> None:
        """Start the recording of world i by hand, for worlds outside a `Worlds` batch."""
        self._recordings[i] = _Recording([state])

    def add(self, i: int, state: WorldState, action: int, events: Sequence[Event] = ()) -> None:
        """Record a step of world i by hand.

        Args:
            i: A world whose recording has started.
            state: The world after the step.
            action: The agent's action (MiniGrid's number).
            events: What happened in the step.
        """
        recording = self._recordings[i]
        recording.states.append(state)
        recording.actions.append(action)
        recording.events.append(tuple(events))

    def __contains__(self, i: int) -> bool:
        return i in self._recordings

    @property
    def n_worlds(self) -> int:
        """How many worlds are recorded."""
        return len(self._recordings)

    def n_steps(self, i: int) -> int:
        """How many steps of world i were recorded."""
        return len(self._recordings[i].states) - 1

    def trajectory(self, i: int) -> Trajectory:
        """The whole recording of world i."""
        recording = self._recordings[i]
        states = stack(recording.states)
        return Trajectory(
            states.views,
            states.grids,
            states.poses,
            states.carried,
            np.array(recording.actions, np.int64),
            tuple(recording.events),
        )

    def frames(self, i: int, steps: Sequence[int], camera: Camera | None = None) -> np.ndarray:
        """What a camera shows of world i after some of the steps, as `Trajectory.frames`.

        Args:
            i: A recorded world.
            steps: Numbers from 0 to ``n_steps(i)``.
            camera: The camera; the agent's own view by default.
        """
        from envs.batched.cameras import AGENT_VIEW

        states = self._recordings[i].states
        camera = AGENT_VIEW if camera is None else camera
        return camera.frames(stack([states[k] for k in steps]))

    def clip(
        self, i: int, last: int | None = None, camera: Camera | None = None, n: int = CLIP_FRAMES
    ) -> np.ndarray:
        """Evenly spread frames of world i, the first and the last moment included (`clip_steps`).

        Args:
            i: A recorded world.
            last: Only the last so many steps are shown; None for all.
            camera: The camera; the agent's own view by default.
            n: The largest number of frames.

        Returns:
            ``[<= n, height, width, 3] uint8``.
        """
        return self.frames(i, clip_steps(self.n_steps(i), last, n), camera)
