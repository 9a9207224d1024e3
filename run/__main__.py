"""``python -m run COMMAND``, or ``parley COMMAND``: Parley's command line."""

from __future__ import annotations

# Few modules, since Ctrl-C while they are imported cannot be caught: `dataclasses` would take most
# of the time.
import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PROG = "python -m run"
DISTRIBUTION = "parley-rl"


class CommandSpec(NamedTuple):
    """Where a command lives: ``module`` has ``function(settings)`` and the class of settings."""

    module: str
    settings: str
    function: str
    group: str
    help: str


COMMANDS = {
    name: CommandSpec(
        f"run.commands.{name.replace('-', '_')}",
        "".join(word.capitalize() for word in name.split("-")) + "Settings",
        name.replace("-", "_"),
        group,
        about,
    )
    for group, name, about in (
        ("play", "episode", "play episodes: a Planner commands an Actor"),
        ("measure", "evaluate", "score a team on the tasks of a suite"),
        ("measure", "report", "show the results of evaluations, as one page"),
        ("measure", "leaderboard", "put results of evaluations side by side"),
        ("measure", "score-detector", "score detectors on clips"),
        ("measure", "reproduce", "test a claim of the papers"),
        ("train", "train-actor", "train the learned Actor: imitation, then PPO"),
        ("train", "train-planner", "adapt a small language model as the Planner"),
        ("train", "train-reporter", "train a Reporter that sees frames"),
        ("train", "train-detector", "train the success detector"),
        ("train", "train-solo", "train PPO on a whole task, without a Planner"),
        ("train", "curves", "draw the curves of training runs in one picture"),
        ("data", "make-clips", "record clips of episodes, with questions about them"),
        ("data", "label", "answer questions about clips, on a local page"),
        ("check", "check-engine", "compare the batched engine with MiniGrid"),
    )
}
GROUPS = {
    "play": "Play",
    "measure": "Measure",
    "train": "Train",
    "data": "Make and label data",
    "check": "Check",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 2 for bad input, 130 when interrupted."""
    # Threads of torch and of the engine wait for each other hundreds of times in a forward pass. By
    # default they spin, which takes 20 times as long as sleeping where other processes work too.
    # OpenMP reads this when torch or the engine is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(argv)
    # Ctrl-C may come while modules are still being imported.
    except KeyboardInterrupt as stop:
        print(f"\nstopped; {stop}" if str(stop) else "\nstopped", file=sys.stderr)
        return 130


def _main(argv: list[str]) -> int:
    if argv[:1] == ["help"]:
        argv = [*argv[1:2], "--help"]
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        print(version())
        return 0
    from run.shadowing import shadowed

    if sentence := shadowed():
        print(f"error: {sentence}", file=sys.stderr)
        return 2
    # Not needed here, but whoever starts from the command line goes on with ``import parley``.
    if sentence := shadowed(["parley"]):
        print(f"warning: {sentence}", file=sys.stderr)
    # Imported here so that the overview comes at once.
    from envs.errors import BadInput, unknown

    try:
        if argv[0] not in COMMANDS:
            raise unknown("command", argv[0], COMMANDS)
        _run(argv[0], argv[1:])
    except BadInput as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    except BrokenPipeError:
        # The reader of standard output has closed it (``--help | head``).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def overview() -> str:
    """The page of all commands."""
    parts = [
        f"usage: {PROG} COMMAND [OPTIONS]",
        "Parley: language models that command reinforcement-learning agents in grid\nworlds.",
    ]
    for group, title in GROUPS.items():
        rows = [
            f"  {name:<16}{command.help}"
            for name, command in COMMANDS.items()
            if command.group == group
        ]
        parts.append("\n".join([f"{title}:", *rows]))
    parts.append(
        f"'{PROG} help COMMAND' explains a command and all its options;\n"
        f"'{PROG} --version' says what is installed."
    )
    return "\n\n".join(parts)


def version() -> str:
    """What is installed: Parley's version and commit, Python's and torch's version."""
    import platform

    from run.storage.folder import versions

    found = versions()
    packages = found["packages"]
    commit = f" at {found['git_commit'][:9]}" if found["git_commit"] else ""
    changed = ", with changes" if found["git_changed"] else ""
    here = f"Python {platform.python_version()}, torch {packages['torch']}"
    return f"parley {packages[DISTRIBUTION]}{commit}{changed} ({here})"


def _run(name: str, rest: Sequence[str]) -> None:
    from envs.errors import BadInput
    from run.display.messages import saying
    from run.storage.config_file import config_option, read_settings, settings_chosen
    from run.storage.deprecations import current_arguments
    from run.storage.resume import on_top, resume_folder, resumed_settings
    from run.storage.unused import options_given

    if name.startswith("train-") and _ran_recipe(name, rest):
        return
    command = COMMANDS[name]
    with saying(f"loading what {name} needs"):
        module = importlib.import_module(command.module)
    cls = getattr(module, command.settings)
    rest, notices = current_arguments(name, rest)
    for notice in notices:
        print(f"warning: {notice}", file=sys.stderr)
    file, rest = config_option(rest)
    folder = resume_folder(cls, rest)
    if folder is not None and file is not None:
        raise BadInput("give --config or --resume, not both: --resume has its settings already")
    if folder is not None:
        settings = resumed_settings(
            cls, name, folder, lambda stored: parse(name, cls, rest, stored)
        )
    elif file is not None and "--help" not in rest:
        stored = read_settings(file, name, cls)
        settings = on_top(stored, lambda stored: parse(name, cls, rest, stored))
    else:
        settings = parse(name, cls, rest)
    refuse = getattr(settings, "refuse_unused", None)
    if refuse is not None and folder is None:
        given = options_given(rest)
        refuse(given)
        if file is not None:
            try:
                refuse(settings_chosen(file) - given)
            except BadInput as error:
                raise BadInput(f"{file}: {error}") from error
    getattr(module, command.function)(settings)


def _ran_recipe(name: str, rest: Sequence[str]) -> bool:
    """Run or resume a recipe, if that is what the arguments of a training command ask for."""
    from envs.errors import BadInput
    from run.storage.resume import OPTION as RESUME
    from run.storage.resume import option_value

    resumed = option_value(rest, RESUME)
    if not any(a == "--recipe" or a.startswith("--recipe=") for a in rest) and resumed is None:
        return False
    from run.recipes.runner import (
        RecipeSettings,
        is_recipe_run,
        list_recipes,
        resume_recipe,
        start_recipe,
    )

    if resumed is not None and is_recipe_run(Path(resumed)):
        if len(rest) > 2 - any("=" in a for a in rest):
            raise BadInput("--resume goes on with the recipe's own settings; give nothing else")
        resume_recipe(name, Path(resumed))
        return True
    if option_value(rest, "--recipe") is None and "--help" not in rest:
        return False
    if resumed is not None:
        raise BadInput("give --recipe or --resume, not both")
    settings = parse(name, RecipeSettings, rest)
    if settings.recipe == "list":
        list_recipes(name)
    else:
        start_recipe(name, settings)
    return True


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
    import inspect

    import tyro

    from envs.errors import BadInput
    from run.display.help_text import Entry, regrouped, wrapped, wrapped_usage
    from run.storage.config_file import OPTION, OPTION_HELP

    prog = f"{PROG} {name}"
    message, printed = io.StringIO(), _Printed()
    try:
        with contextlib.redirect_stderr(message), contextlib.redirect_stdout(printed), _width():
            return tyro.cli(
                cls,
                prog=prog,
                args=list(rest),
                description="",
                # On top of stored settings a flag may have to be turned off, or be on already.
                config=() if default is not None else (tyro.conf.FlagCreatePairsOff,),
                **({} if default is None else {"default": default}),
            )
    except SystemExit as end:
        if end.code in (0, None):
            usage = wrapped_usage(printed.getvalue())
            about = wrapped(inspect.getdoc(cls) or "")
            more = [Entry(f"{OPTION} FILE", OPTION_HELP)]
            options = regrouped(printed.getvalue(), getattr(cls, "USUAL", ()), more)
            print(usage, about, options, sep="\n\n")
            raise
        raise BadInput(f"{_sentence(message.getvalue())} (see {prog} --help)") from None


class _Printed(io.StringIO):
    """Standard output for tyro, which would else frame its help in other characters."""

    encoding = "utf-8"


@contextlib.contextmanager
def _width() -> Iterator[None]:
    """Within the context, a terminal of 80 columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


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
