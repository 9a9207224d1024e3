"""What happened in an episode, in words: for those that nobody judges, all that there is to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from agents.dialogue import Dialogue
from agents.episode import Episode
from agents.team import Callback
from envs.events import Event
from envs.worlds import Worlds

HOW_JUDGED = (
    "nobody judged it, since the sentence reads like none of our tasks. These are judged: "
    '"If the red ring is good, pick up the blue tee, otherwise pick up the grey cross."; "Exactly '
    'one of the red ring and the blue tee is good. Pick up the good one."; one command. Otherwise '
    "look at --video, or ask the detector: parley.load_detector, with the frames of parley.play"
)


class EventLog(Callback):
    """Keeps what truly happened in the episodes of a group."""

    def __init__(self) -> None:
        self._events: dict[int, list[Event]] = {}
        self._steps: dict[int, int] = {}

    def on_begin(self, worlds: Worlds, dialogues: Sequence[Dialogue]) -> None:
        self._events = {d.world: [] for d in dialogues}
        self._steps = dict.fromkeys(self._events, 0)

    def on_step(self, worlds: Worlds) -> None:
        for i, events in self._events.items():
            # The events of a world that stood still are those of an earlier step.
            if worlds.steps[i] > self._steps[i]:
                self._steps[i] = int(worlds.steps[i])
                events += worlds.events[i]

    def of(self, i: int) -> tuple[Event, ...]:
        """The events of world i so far, in their order."""
        return tuple(self._events.get(i, ()))


def what_happened(events: Iterable[Event]) -> str:
    """Events as a sentence's end: ``the agent examined the red ring (it has secret property good)
    and picked up the blue tee``."""
    deeds = list(dict.fromkeys(_deed(e) + (f" (it {e.fact})" if e.fact else "") for e in events))
    if not deeds:
        return "the agent touched nothing"
    *first, last = deeds
    return f"the agent {', '.join(first)} and {last}" if first else f"the agent {last}"


class OutcomeSummary(EventLog):
    """Counts what happened in the episodes of a run that nobody judged. A callback; call `group`
    before each group of episodes."""

    def __init__(self) -> None:
        super().__init__()
        self.episodes = 0
        self._deeds: Counter[str] = Counter()
        self._indices: Sequence[int] = ()
        self._skip: Collection[int] = ()

    def group(self, indices: Sequence[int], skip: Collection[int]) -> OutcomeSummary:
        """This summary as the callback of a group of episodes, of which some do not count."""
        self._indices, self._skip = indices, skip
        return self

    def on_end(self, i: int, episode: Episode) -> None:
        if self._indices[i] not in self._skip and is_unjudged(episode):
            self.episodes += 1
            self._deeds.update({_deed(e) for e in self.of(i)})

    def lines(self) -> list[str]:
        """The summary, empty where every episode was judged."""
        if not self.episodes:
            return []
        lines = []
        if self.episodes > 1:
            counts = [f"{deed} in {n}" for deed, n in self._deeds.most_common(6)]
            done = ", ".join(counts) or "touched nothing in any"
            lines.append(f"of {self.episodes} episodes, the agent {done}")
        return [*lines, HOW_JUDGED]


def is_unjudged(episode: Episode) -> bool:
    """Whether nobody could tell the success of an episode that did not break."""
    return episode.success is None and episode.error is None


def _deed(event: Event) -> str:
    return f"{event.kind} the {event.item}"
