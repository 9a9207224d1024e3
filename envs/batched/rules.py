"""The rules by which an episode is judged, besides MiniGrid's goal and lava."""

from __future__ import annotations

(
    PLAIN,
    INSTRUCTION,
    PICK_TARGET,
    UNLOCK,
    RED_BLUE_DOORS,
    PUT_NEAR,
    GO_TO_TARGET,
    MEMORY,
    FETCH,
    RIGHT_ITEM,
    COMMAND,
    COMMAND_ALONE,
    IN_ORDER,
) = range(13)
N_RULES = 13
# The parts of a BabyAI instruction.
NO_PART, GO_TO, PICK_UP, OPEN_DOOR, PUT_NEXT = range(5)
