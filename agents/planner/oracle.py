"""The oracle Planner: privileged, it sees the whole world and knows the right command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrid.envs.babyai.core.verifier import (
    AfterInstr,
    GoToInstr,
    ObjDesc,
    OpenInstr,
    PickupInstr,
    PutNextInstr,
    SeqInstr,
)

from agents.dialogue import Decision, Dialogue
from agents.planner.options import PlannerOptions
from agents.planner.prerequisites import PrerequisitePlanner
from agents.protocols import TeamMember
from envs.commands import Command
from envs.errors import BadInput
from envs.items import ANY_SHAPE, Item
from envs.worlds import Worlds


class OraclePlanner(TeamMember):
    """Takes the next command from our families' ``oracle`` and from BabyAI's instructions.

    In BabyAI's worlds it first removes what is in the way, such as a locked door. Which items have
    been examined it takes from the dialogue. In any other world its decisions are errors.
    """

    def __init__(self, options: PlannerOptions | None = None) -> None:
        self._worlds: Worlds | None = None

    def begin(self, worlds: Worlds) -> None:
        self._worlds = worlds

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        return [self._one(d) for d in dialogues]

    def _one(self, dialogue: Dialogue) -> Decision:
        assert self._worlds is not None, "begin() has not been called"
        world: Any = self._worlds.world(dialogue.world)
        try:
            if hasattr(world, "oracle"):
                command = world.oracle(examined(dialogue))
            elif hasattr(world, "instrs"):
                command = PrerequisitePlanner(world, self._worlds.places(dialogue.world)).to(
                    _babyai(world.instrs)
                )
            else:
                raise BadInput(f"the oracle knows no answer to the task '{dialogue.task}'")
        except BadInput as error:
            return Decision("", None, error=error)
        return Decision(command.sentence(), command)


def examined(dialogue: Dialogue) -> frozenset[Item]:
    """The items of the examine commands so far whose reports do not deny them."""
    return frozenset(
        turn.command.item
        for turn in dialogue.turns
        if turn.command is not None
        and turn.command.verb == "examine"
        and not turn.report.denies(turn.command)
    )


def _babyai(instr: Any) -> Command:
    """What a BabyAI instruction asks for next; its verifier knows which parts are done."""
    while isinstance(instr, SeqInstr):
        parts: Any = instr
        first, second, done = parts.instr_a, parts.instr_b, parts.a_done
        if isinstance(instr, AfterInstr):
            first, second, done = second, first, parts.b_done
        instr = second if done == "success" else first
    if isinstance(instr, PutNextInstr):
        return Command("put", _item(instr.desc_move), _item(instr.desc_fixed))
    for kind, verb in ((GoToInstr, "go to"), (PickupInstr, "pick up"), (OpenInstr, "open")):
        if isinstance(instr, kind):
            return Command(verb, _item(instr.desc))
    raise BadInput(f"the oracle cannot read a {type(instr).__name__}")


def _item(desc: ObjDesc) -> Item:
    """The item that a BabyAI description means."""
    return Item(desc.type or ANY_SHAPE, desc.color, place=desc.loc)
