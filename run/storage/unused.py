"""Options that a run cannot use are refused: given, they would be ignored without a word."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from envs.errors import BadInput


def options_given(arguments: Sequence[str]) -> frozenset[str]:
    """The names of the options in a command's arguments, as settings are called: ``base_url`` for
    ``--base-url``."""
    return frozenset(
        argument[2:].partition("=")[0].replace("-", "_")
        for argument in arguments
        if argument.startswith("--")
    )


def refuse(given: Collection[str], unused: Mapping[str, str]) -> None:
    """Refuse the options that are given and not used.

    Args:
        given: The names of the options that are given.
        unused: Those that this run does not use, each with the reason.

    Raises:
        BadInput: One is given.
    """
    for name in sorted(given):
        if name in unused:
            raise BadInput(f"--{name.replace('_', '-')} has no effect here: {unused[name]}")


def idle(settings: object, needs: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The options of stages that are left out, and ``--force`` without ``--out``.

    Args:
        settings: The settings.
        needs: For the option that says how long a stage is, such as ``rl_steps``, the options that
            only this stage uses.
    """
    unused = {
        name: f"--{stage.replace('_', '-')} is 0"
        for stage, names in needs.items()
        if not getattr(settings, stage)
        for name in names
    }
    if getattr(settings, "out", None) is None:
        unused["force"] = "without --out nothing is replaced"
    return unused
