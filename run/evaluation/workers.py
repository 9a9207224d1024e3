"""Workers, which play the jobs of an evaluation in parallel: local processes, or a Ray cluster.

Groups of episodes come back in the order in which one process would play them.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from agents.team import Callback
from envs.errors import BadInput
from envs.processes import processes
from run.evaluation.given import NO_PARTS, GivenParts
from run.evaluation.jobs import EvaluationJob, PlannerCache, group_player, jobs_of
from run.evaluation.recording import EpisodeRecorder
from run.evaluation.settings import EvaluationSettings
from run.evaluation.suites import find_suite, select_tasks
from run.evaluation.understanding import UnderstandingMonitor
from run.storage.records import EpisodeRecord

WorkItem = tuple[int, range]  # the number of a job, and which of its episodes
DIED = "a worker died, perhaps out of memory: each loads its own Planner; try fewer --workers"


class EvaluationWorker:
    """Plays groups of episodes, with its own Planner."""

    def __init__(
        self, settings: EvaluationSettings, threads: int = 0, given: GivenParts = NO_PARTS
    ) -> None:
        """Prepare all jobs of an evaluation.

        Args:
            settings: The evaluation's settings.
            threads: How many threads torch uses; 0 for the worker's share of the cores.
            given: The parts of the team that are objects.
        """
        import torch

        torch.set_num_threads(threads or max(1, torch.get_num_threads() // settings.workers))
        suite = find_suite(settings.suite)
        self.settings = settings
        self.jobs: Sequence[EvaluationJob] = [
            job
            for task in select_tasks(settings.suite, suite, settings.tasks)
            for job in jobs_of(settings, suite, task, given)
        ]
        self.planners = PlannerCache(given)
        self.monitor = UnderstandingMonitor(settings.max_misunderstood)
        self.player: tuple[int, Callable[[EpisodeRecorder, Callback], None]] | None = None

    def play(self, item: WorkItem) -> list[EpisodeRecord]:
        """The records of one group of episodes, in the order in which they ended."""
        k, indices = item
        job = self.jobs[k]
        if self.player is None or self.player[0] != k:
            self.player = k, group_player(self.settings, job, self.planners)
        records: list[EpisodeRecord] = []
        self.player[1](EpisodeRecorder(records, indices, (), [], job.key), self.monitor)
        return records


def play_in_parallel(
    settings: EvaluationSettings, items: Sequence[WorkItem], given: GivenParts = NO_PARTS
) -> Iterator[list[EpisodeRecord]]:
    """The records of each work item, in their order.

    Raises:
        BadInput: A worker died, or there is no Ray.
    """
    return (_by_ray if settings.engine == "ray" else _by_processes)(settings, items, given)


_worker: EvaluationWorker  # of this process, where it is one of several


def _begin(settings: EvaluationSettings, given: GivenParts) -> None:
    global _worker
    _worker = EvaluationWorker(settings, given=given)


def _play(item: WorkItem) -> list[EpisodeRecord]:
    return _worker.play(item)


def _by_processes(
    settings: EvaluationSettings, items: Sequence[WorkItem], given: GivenParts
) -> Iterator[list[EpisodeRecord]]:
    context = processes(__name__, "torch")
    with ProcessPoolExecutor(settings.workers, context, _begin, (settings, given)) as pool:
        try:
            # All processes start here.
            with _without_main():
                groups = pool.map(_play, items)
            yield from groups
        except BrokenProcessPool as error:
            raise BadInput(DIED) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that start meanwhile do not import the user's script. Nothing of it is needed, and
    one without ``if __name__ == "__main__":`` would begin the evaluation again in each of them."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _check_address(address: str | None) -> None:
    """Raise BadInput where nobody answers at ``HOST:PORT`` or ``ray://HOST:PORT``, for which Ray
    itself would wait for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, or what Ray refuses at once
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        trouble = getattr(error, "strerror", None) or error
        raise BadInput(f"there is no Ray at '{address}': {trouble}") from error


def _by_ray(
    settings: EvaluationSettings, items: Sequence[WorkItem], given: GivenParts
) -> Iterator[list[EpisodeRecord]]:
    # Send no usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray.util import ActorPool
    except ImportError as error:
        raise BadInput("--engine ray needs Ray: pip install 'parley-rl[ray]'") from error
    _check_address(settings.address)
    local: Mapping[str, Any] = {
        "num_cpus": settings.workers,
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        ray.init(
            address=settings.address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if settings.address else local),
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BadInput(f"there is no Ray at '{settings.address}': {error}") from error
    try:
        remote: Any = ray.remote(num_cpus=1)(EvaluationWorker)
        pool: Any = ActorPool([remote.remote(settings, 1, given) for _ in range(settings.workers)])
        yield from pool.map(lambda worker, item: worker.play.remote(item), items)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, BadInput):
            raise BadInput(str(cause)) from error
        raise
    except ray.exceptions.RayActorError as error:
        raise BadInput(DIED) from error
    finally:
        ray.shutdown()
