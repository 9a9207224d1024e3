# Of the distribution parley-rl: run/shadowing.py looks for this line.
"""Parley: language models that command reinforcement-learning agents in grid worlds.

Play, with a function of your own as the Planner, such as a call of any language model:

    import parley

    def planner(dialogue: str) -> str:
        first_item = dialogue.split("one of the ")[1].split(",")[0]
        return f"Pick up the {first_item}."

    for episode in parley.play("search", planner=planner, episodes=3):
        print(episode.transcript(), episode.success)

Evaluate it on tasks of a suite, and compare it with another:

    import parley

    tasks = ["conditional", "search-2-5"]
    random = parley.evaluate("planner", planner="random", tasks=tasks, episodes=20)
    oracle = parley.evaluate("planner", planner="oracle", tasks=tasks, episodes=20)
    print(oracle, oracle.success_rate, oracle.interval)
    print(oracle.compare(random))
    frame = oracle.to_pandas()

Ask the success detector what it saw, and take its answer as a world's reward:

    import parley

    detector = parley.load_detector()
    for episode in parley.play("search", planner="random", episodes=3, frames=True):
        print(detector(episode.frames, parley.task_question(episode.task)), episode.success)
    env = detector.reward_wrapper(parley.make("search"))
    env.reset(seed=0)
    obs, reward, terminated, truncated, info = env.step(env.action_space.sample())

Whatever is named here is loaded when it is first used, so that importing Parley takes no time.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.actor import ACTORS
    from agents.dialogue import Decision, Dialogue, Rollout
    from agents.episode import Episode
    from agents.messages import Report
    from agents.planner.registry import PLANNERS
    from agents.protocols import Actor, Planner, Reporter, TeamMember
    from agents.reporter import REPORTERS
    from agents.reporter.function import ObservedRollout
    from agents.team import Callback, Team
    from envs.errors import BadInput
    from parley.detector import Detector, load_detector
    from parley.episodes import play
    from parley.evaluation import evaluate
    from parley.parts import (
        load_actor,
        load_planner,
        load_reporter,
        planner_from,
        reporter_from,
    )
    from parley.worlds import make, make_vec
    from rewards.reward import command_question, task_question
    from rewards.success_vqa.registry import DETECTORS
    from run.evaluation.outcome import EvaluationResult, TaskResult

__version__ = "0.1.0"

_MODULES = {
    "ACTORS": "agents.actor",
    "Actor": "agents.protocols",
    "BadInput": "envs.errors",
    "Callback": "agents.team",
    "DETECTORS": "rewards.success_vqa.registry",
    "Decision": "agents.dialogue",
    "Detector": "parley.detector",
    "Dialogue": "agents.dialogue",
    "Episode": "agents.episode",
    "EvaluationResult": "run.evaluation.outcome",
    "ObservedRollout": "agents.reporter.function",
    "PLANNERS": "agents.planner.registry",
    "Planner": "agents.protocols",
    "REPORTERS": "agents.reporter",
    "Report": "agents.messages",
    "Reporter": "agents.protocols",
    "Rollout": "agents.dialogue",
    "TaskResult": "run.evaluation.outcome",
    "Team": "agents.team",
    "TeamMember": "agents.protocols",
    "command_question": "rewards.reward",
    "evaluate": "parley.evaluation",
    "load_actor": "parley.parts",
    "load_detector": "parley.detector",
    "load_planner": "parley.parts",
    "load_reporter": "parley.parts",
    "make": "parley.worlds",
    "make_vec": "parley.worlds",
    "planner_from": "parley.parts",
    "play": "parley.episodes",
    "reporter_from": "parley.parts",
    "task_question": "rewards.reward",
}

__all__ = [
    "ACTORS",
    "DETECTORS",
    "PLANNERS",
    "REPORTERS",
    "Actor",
    "BadInput",
    "Callback",
    "Decision",
    "Detector",
    "Dialogue",
    "Episode",
    "EvaluationResult",
    "ObservedRollout",
    "Planner",
    "Report",
    "Reporter",
    "Rollout",
    "TaskResult",
    "Team",
    "TeamMember",
    "__version__",
    "command_question",
    "evaluate",
    "load_actor",
    "load_detector",
    "load_planner",
    "load_reporter",
    "make",
    "make_vec",
    "planner_from",
    "play",
    "reporter_from",
    "task_question",
]


def _check_packages() -> None:
    """Raise ImportError, in one sentence, where another package stands before one of ours."""
    # By its path, since ``run`` may be the one.
    file = os.path.join(os.path.dirname(os.path.dirname(__file__)), "run", "shadowing.py")
    spec = importlib.util.spec_from_file_location("parley._shadowing", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if sentence := module.shadowed():
        raise ImportError(sentence)


_check_packages()


if not TYPE_CHECKING:  # which would otherwise take any name for one of this module

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'parley' has no attribute '{name}'")
        thing = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = thing
        return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
