"""BabyAI's mixed local missions, with minigrid's own level generator and verifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnasium.core import ObsType
from minigrid.core.roomgrid import RoomGrid
from minigrid.core.world_object import Door, WorldObj
from minigrid.envs.babyai.core.roomgrid_level import RejectSampling, RoomGridLevel
from minigrid.envs.babyai.core.verifier import (
    AfterInstr,
    BeforeInstr,
    GoToInstr,
    Instr,
    ObjDesc,
    OpenInstr,
    PickupInstr,
    PutNextInstr,
)

from envs.errors import some_of, whole_number
from envs.events import EventWatch
from envs.room import coin

KINDS = ("go to", "pick up", "put next to", "pick up then go to", "open")
# For choosing among checkpoints, so that the others stay unseen until the end.
VALIDATION_KINDS = ("go to then pick up",)
MAX_DISTRACTORS = 10


class BabyAIMixedLocal(RoomGridLevel):
    """
    ## Description

    One 8x8 room of keys, balls and boxes, no two alike, and a mission of one of the `kinds`: "go
    to", "pick up", "put next to", "pick up then go to", "open"; one more, "go to then pick up", is
    played only where it is chosen, as it serves validation. To open is to unlock the door to a
    second, empty room, whose key lies in the first. `distractors` more things lie about: 8 as in
    GLAM, 0 as in BALROG, at most 10; the door's key has its colour for itself. Everything
    can be reached without moving anything else. Where `open` is among the kinds there is space for
    the second room in every episode, so that all worlds have one size.

    ## Mission space

    "go to the {thing}" | "pick up the {thing}" | "put the {thing} next to the {thing}" |
    "pick up the {thing}, then go to the {thing}" | "go to the {thing} after you pick up the
    {thing}" | "open the {colour} door" | "go to the {thing}, then pick up the {thing}" | "pick up
    the {thing} after you go to the {thing}"

    ## Action space

    MiniGrid's: left, right, forward, pickup, drop, toggle (open), done.

    ## Observation

    MiniGrid's: the 7x7 view ahead `[7, 7, 3] uint8`, the direction, the mission.

    ## Rewards

    1 when BabyAI's verifier finds the mission fulfilled, otherwise 0.

    ## Termination

    Success ends the episode; nothing else does. Truncated after `max_steps`.

    ## Registered ids

    - `Parley/BabyAIMixedLocal-v0`
    """

    verbs: tuple[str, ...] = ("go to", "pick up", "open", "put")

    def __init__(
        self,
        kinds: Sequence[str] = KINDS,
        distractors: int = 8,
        max_steps: int = 128,
        **kwargs: Any,
    ) -> None:
        self.kinds = some_of("kind", kinds, KINDS + VALIDATION_KINDS)
        self.distractors = whole_number("distractors", distractors, 0, MAX_DISTRACTORS)
        self.kind = self.kinds[0]
        super().__init__(
            room_size=8,
            num_rows=1,
            num_cols=2 if "open" in self.kinds else 1,
            max_steps=whole_number("max_steps", max_steps, low=1),
            **kwargs,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None, **kwargs: Any
    ) -> tuple[ObsType, dict[str, Any]]:
        obs, info = super().reset(seed=seed, options=options, **kwargs)
        return obs, {**info, "events": (), "success": False}

    def step(self, action: Any) -> tuple[ObsType, float, bool, bool, dict[str, Any]]:
        watch = EventWatch(self)
        obs, _, success, truncated, info = super().step(action)
        info = {**info, "events": watch.events(self, int(action)), "success": success}
        return obs, float(success), success, truncated, info

    def _gen_grid(self, width: int, height: int) -> None:
        # Drawn once, so that all kinds are equally frequent, however many layouts are rejected.
        self.kind = self.kinds[self.np_random.integers(len(self.kinds))]
        while True:
            # Not RoomGridLevel's loop, which prints every layout that it rejects.
            RoomGrid._gen_grid(self, width, height)
            try:
                self.gen_mission()
                self.validate_instrs(self.instrs)
                self.check_objs_reachable()
                break
            except (RejectSampling, RecursionError):
                continue
        self.surface = self.mission = self.instrs.surface(self)

    def gen_mission(self) -> None:
        self.place_agent(0, 0)
        if self.kind == "open":
            door, _ = self.add_door(0, 0, 0, locked=True)
            self.add_object(0, 0, "key", door.color)
            self.instrs: Instr = OpenInstr(_named(door))
        else:
            n_named = 1 if self.kind in ("go to", "pick up") else 2
            self.instrs = self._instruct(*self.add_distractors(0, 0, n_named))
        self.add_distractors(0, 0, self.distractors)

    def _instruct(self, first: WorldObj, *rest: WorldObj) -> Instr:
        if self.kind == "go to":
            return GoToInstr(_named(first))
        if self.kind == "pick up":
            return PickupInstr(_named(first))
        if self.kind == "put next to":
            return PutNextInstr(_named(first), _named(rest[0]))
        pick, go = PickupInstr(_named(first)), GoToInstr(_named(rest[0]))
        one, other = (pick, go) if self.kind == "pick up then go to" else (go, pick)
        return BeforeInstr(one, other) if coin(self.np_random) else AfterInstr(other, one)


def _named(thing: WorldObj) -> ObjDesc:
    """The description by which a mission names a thing."""
    assert isinstance(thing, Door) or thing.can_pickup()
    return ObjDesc(thing.type, thing.color)
