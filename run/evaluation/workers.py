"""Who plays the jobs of an evaluation at the same time: processes here, or Ray's on a cluster.

Whoever plays, groups of episodes come back in the order in which one process would play them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from agents.team import Callback
from envs.errors import BadInput
from envs.processes import processes
from run.commands.episode import Record
from run.evaluation.jobs import EvaluationJob, PlannerCache, jobs_of, player
from run.evaluation.suites import chosen, find_suite

WorkItem = tuple[int, range]  # the number of a job, and which of its episodes
Made = list[dict[str, Any]]
DIED = "a worker died, perhaps for want of memory: each loads its own Planner; try fewer --workers"


class EvaluationWorker:
    """One of those who play: it loads its own Planner, once."""

    def __init__(self, args: Any, threads: int = 0) -> None:
        """``args`` are the settings of ``evaluate``; ``threads`` those of torch, 0 for its share of
        the cores."""
        import torch

        torch.set_num_threads(threads or max(1, torch.get_num_threads() // args.workers))
        suite = find_suite(args.suite)
        self.args = args
        self.jobs: Sequence[EvaluationJob] = [
            job
            for cell in chosen(args.suite, suite, args.cells)
            for job in jobs_of(args, suite, cell)
        ]
        self.planners = PlannerCache()
        self.player: tuple[int, Callable[[Record, Callback], None]] | None = None

    def play(self, task: WorkItem) -> Made:
        """The lines of one group of episodes, as they ended."""
        k, indices = task
        job = self.jobs[k]
        if self.player is None or self.player[0] != k:
            self.player = k, player(self.args, job, self.planners)
        made: Made = []
        self.player[1](Record(made, indices, (), [], job.more), Callback())
        return made


def play(args: Any, tasks: Sequence[WorkItem]) -> Iterator[Made]:
    """What ``--workers`` make of the tasks, in their order. Raises BadInput where one dies, and
    where there is no Ray to be had."""
    return (_by_ray if args.engine == "ray" else _by_processes)(args, tasks)


_worker: EvaluationWorker  # of this process, where it is one of several


def _begin(args: Any) -> None:
    global _worker
    _worker = EvaluationWorker(args)


def _play(task: WorkItem) -> Made:
    return _worker.play(task)


def _by_processes(args: Any, tasks: Sequence[WorkItem]) -> Iterator[Made]:
    context = processes(__name__, "torch")
    with ProcessPoolExecutor(args.workers, context, _begin, (args,)) as pool:
        try:
            yield from pool.map(_play, tasks)
        except BrokenProcessPool as error:
            raise BadInput(DIED) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _check_address(address: str | None) -> None:
    """Raises BadInput where nobody answers at ``HOST:PORT`` or ``ray://HOST:PORT``, for which Ray
    itself would wait for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, or what Ray finds fault with at once
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        trouble = getattr(error, "strerror", None) or error
        raise BadInput(f"there is no Ray at '{address}': {trouble}") from error


def _by_ray(args: Any, tasks: Sequence[WorkItem]) -> Iterator[Made]:
    # Nothing is told to Ray's makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray.util import ActorPool
    except ImportError as error:
        raise BadInput("--engine ray needs Ray: pip install 'parley[ray]'") from error
    _check_address(args.address)
    here: dict[str, Any] = {
        "num_cpus": args.workers,
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        ray.init(
            address=args.address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            **({} if args.address else here),
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BadInput(f"there is no Ray at '{args.address}': {error}") from error
    try:
        remote: Any = ray.remote(num_cpus=1)(EvaluationWorker)
        pool = ActorPool([remote.remote(args, threads=1) for _ in range(args.workers)])
        yield from pool.map(lambda worker, task: worker.play.remote(task), tasks)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, BadInput):
            raise BadInput(str(cause)) from error
        raise
    except ray.exceptions.RayActorError as error:
        raise BadInput(DIED) from error
    finally:
        ray.shutdown()
