"""``python -m run COMMAND``, or ``parley COMMAND``: Parley's command line."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PROG = "python -m run"


@dataclass(frozen=True)
class CommandSpec:
    """Where a command lives: ``module`` has ``function(settings)`` and the class of settings."""

    module: str
    settings: str
    function: str
    help: str


COMMANDS = {
    name: CommandSpec(f"run.commands.{module}", settings, module, about)
    for name, module, settings, about in (
        ("episode", "episode", "EpisodeSettings", "play episodes: a Planner commands an Actor"),
        ("evaluate", "evaluate", "EvaluateSettings", "score a team on the tasks of a suite"),
        ("report", "report", "ReportSettings", "show the results of evaluations, as one page"),
        (
            "leaderboard",
            "leaderboard",
            "LeaderboardSettings",
            "put results of evaluations side by side",
        ),
        ("train-actor", "train_actor", "TrainActorSettings", "train the learned Actor with PPO"),
        (
            "train-solo",
            "train_solo",
            "TrainSoloSettings",
            "train PPO on a whole task, without a Planner",
        ),
        (
            "make-clips",
            "make_clips",
            "MakeClipsSettings",
            "record clips of episodes, with questions about them",
        ),
        ("label", "label", "LabelSettings", "answer questions about clips, on a local page"),
        ("score-detector", "score_detector", "ScoreDetectorSettings", "score detectors on clips"),
        (
            "train-detector",
            "train_detector",
            "TrainDetectorSettings",
            "train the success detector",
        ),
        (
            "train-planner",
            "train_planner",
            "TrainPlannerSettings",
            "adapt a small language model as the Planner",
        ),
        (
            "train-reporter",
            "train_reporter",
            "TrainReporterSettings",
            "train a Reporter that sees frames",
        ),
        ("curves", "curves", "CurvesSettings", "draw the curves of training runs in one picture"),
        (
            "check-engine",
            "check_engine",
            "CheckEngineSettings",
            "compare the batched engine with MiniGrid",
        ),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 2 for bad input, 130 when interrupted."""
    # Threads of torch and of the engine wait for each other hundreds of times in a forward pass. By
    # default they spin, which takes 20 times as long as sleeping where other processes work too.
    # OpenMP reads this when torch or the engine is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return 0 if argv else 2
    # Imported here so that the overview comes at once.
    from envs.errors import BadInput, unknown

    try:
        if argv[0] not in COMMANDS:
            raise unknown("command", argv[0], COMMANDS)
        _run(argv[0], argv[1:])
    except BadInput as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\nstopped; {stop}" if str(stop) else "\nstopped", file=sys.stderr)
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    except BrokenPipeError:
        # The reader of standard output has closed it (``--help | head``).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def overview() -> str:
    """The page of all commands."""
    rows = "\n".join(f"  {name:<16}{command.help}" for name, command in COMMANDS.items())
    return (
        f"usage: {PROG} COMMAND [OPTIONS]\n\n"
        "Parley: language models that command reinforcement-learning agents in grid worlds.\n\n"
        f"commands:\n{rows}\n\n"
        f"'{PROG} COMMAND --help' explains a command and all its options."
    )


def _run(name: str, rest: Sequence[str]) -> None:
    from run.storage.deprecations import current_arguments
    from run.storage.resume import resume_folder, resumed_settings

    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    cls = getattr(module, command.settings)
    rest, notices = current_arguments(name, rest)
    for notice in notices:
        print(f"warning: {notice}", file=sys.stderr)
    folder = resume_folder(cls, rest)
    if folder is None:
        settings = parse(name, cls, rest)
    else:
        settings = resumed_settings(
            cls, name, folder, lambda stored: parse(name, cls, rest, stored)
        )
    getattr(module, command.function)(settings)


def parse(name: str, cls: type, rest: Sequence[str], default: Any = None) -> Any:
    """A command's settings from its arguments.

    Args:
        name: The command's name.
        cls: Its class of settings.
        rest: Its arguments.
        default: Settings that hold where nothing else is given, in place of the class's own.

    Raises:
        BadInput: In one sentence, for arguments that cannot be used.
    """
    import tyro

    from envs.errors import BadInput

    prog = f"{PROG} {name}"
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return tyro.cli(
                cls,
                prog=prog,
                args=list(rest),
                # Given, because tyro leaves a docstring's Examples out.
                description=inspect.getdoc(cls),
                # On top of stored settings a flag may have to be turned off, or be on already.
                config=() if default is not None else (tyro.conf.FlagCreatePairsOff,),
                **({} if default is None else {"default": default}),
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise BadInput(f"{_sentence(message.getvalue())} (see {prog} --help)") from None


def _sentence(box: str) -> str:
    """Tyro's framed message as one sentence."""
    parts: list[list[str]] = [[]]
    for row in box.splitlines():
        text = row.strip(" │")
        if text.startswith(("╭", "╰")):
            continue
        if text and not text.strip("─-"):
            parts.append([])
        elif text:
            parts[-1].append(text)
    if "╭" not in box:
        # Without UTF-8, the title is a part of its own.
        parts = parts[1:]
    text = " ".join(parts[0]).rstrip(".").replace("'None', ", "")
    # Messages of our own settings classes need no prefix.
    text = re.sub(r"^Error parsing \w+: ", "", text)
    number = re.match(r"Error parsing (--\S+): .*\b(int|float|INT|FLOAT)\b.*?'([^']*)'", text)
    if number:
        option, kind, value = number.groups()
        text = f"{option} {value} is no {'whole ' if kind.lower() == 'int' else ''}number"
    for part in parts[1:]:
        if part and part[0].startswith("Perhaps you meant"):
            text += f"; did you mean {part[1].split()[0]}?"
    return text[:1].lower() + text[1:]


if __name__ == "__main__":
    sys.exit(main())
