"""Lessons: what the small Planner is trained on, and nothing else.

``TRAINING`` lists every family and phrasing of training. Whatever is not in it (and / or / not,
several deciders, order, what can be seen, other property words, other phrasings, held-out items,
more than five items, BabyAI's missions) is zero-shot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from agents.actor import make_actor
from agents.dialogue import Decision, Dialogue, Turn
from agents.messages import Fact, Report
from agents.planner.oracle import OraclePlanner, examined
from agents.protocols import Actor, Planner
from agents.reporter import make_reporter
from agents.reporter.scripted import carried_out, with_attributes
from agents.team import Episode, Team
from agents.trajectory import TrajectoryCallback
from envs.attributes import SECRET_PROPERTY
from envs.commands import VERBS, Command
from envs.conditional import DEED_VERBS
from envs.errors import BadInput, unknown
from envs.items import Item
from envs.room import one_of
from envs.search import SecretSearch
from envs.tasks import make_worlds
from envs.worlds import Worlds
from models.language.candidate_scorer import ScoringRequest, build_trie

# Training's seeds begin here, far behind those that evaluations use.
FIRST_SEED = 1_000_000_000
MAX_TURNS = 12
PATIENCE = 64


@dataclass(frozen=True)
class TaskFamily:
    """A kind of episode: a task with its settings, and who reports.

    ``irrelevant`` is how probable it is that a report says useless things too, ``reporter`` who
    reports where that is 0; with a ``patience`` of few steps a command, the Actor often reports
    that it did not manage. ``share`` is how often the family is drawn, relative to the others.
    """

    name: str
    task: str
    settings: Mapping[str, Any]
    share: float
    irrelevant: float = 0.0
    patience: int = PATIENCE
    reporter: str = "scripted"


_CONDITIONAL: dict[str, Any] = {
    "phrasings": ("plain", "normally"),
    "asked": ("first", "second", "third"),
}
_DEEDS: dict[str, Any] = {**_CONDITIONAL, "deeds": DEED_VERBS, "n_items": 6}


def _searched(n: int) -> dict[str, Any]:
    return {"phrasings": ("plain", "which"), "n_items": n}


TRAINING: tuple[TaskFamily, ...] = (
    TaskFamily("conditional", "conditional", _CONDITIONAL, 3.0),
    TaskFamily("conditional, impatient", "conditional", _CONDITIONAL, 0.5, patience=6),
    TaskFamily("conditional, talkative", "conditional", _CONDITIONAL, 1.0, irrelevant=0.3),
    # What is to be done is said by the sentence, so that no verb is learned by heart.
    TaskFamily("conditional, deeds", "conditional", _DEEDS, 2.0),
    *(TaskFamily(f"search {n}", "search", _searched(n), 0.6) for n in (2, 3, 4, 5)),
    TaskFamily("search, impatient", "search", _searched(3), 0.3, patience=6),
    TaskFamily("search, talkative", "search", _searched(4), 0.8, irrelevant=0.3),
)

# For a Planner that is to read what a Reporter sees. What is reported of parley-135m on them is
# zero-shot.
VISIBLE: tuple[TaskFamily, ...] = tuple(
    TaskFamily(f"visible, {reporter}", "visual-conditional", {}, 3.0, reporter=reporter)
    for reporter in ("scripted", "thorough")
)


def families_without(patterns: Sequence[str], visible: bool = False) -> tuple[TaskFamily, ...]:
    """Training's families, with ``VISIBLE`` or not, but for those whose names match, as file names
    do ("search*").

    Raises BadInput where a pattern matches none, and where no family is left.
    """
    families = TRAINING + VISIBLE if visible else TRAINING
    names = [f.name for f in families]
    for pattern in patterns:
        if not any(fnmatchcase(n, pattern) for n in names):
            raise unknown("family", pattern, names)
    kept = tuple(f for f in families if not any(fnmatchcase(f.name, p) for p in patterns))
    if not kept:
        raise BadInput(f"without {', '.join(patterns)} there is no family to train on")
    return kept


@dataclass(frozen=True)
class DecisionPoint:
    """A place in a text at which the next token was one of several.

    The model's output at ``position`` decides; ``targets`` are the tokens that can come, of which
    number ``taken`` did.
    """

    position: int
    targets: tuple[int, ...]
    taken: int


@dataclass(frozen=True)
class TrainingExample:
    """A dialogue in tokens, with all that the Planner chose in it.

    ``said`` are the commands' tokens, as (position of the output that predicts it, token);
    ``choices`` those places where the candidates part. ``weight`` is what it counts: 1 for what
    is to be imitated, the advantage in reinforcement. ``strange`` are tokens that are read as
    random vectors, which ``key`` draws, wherever they stand.
    """

    tokens: tuple[int, ...]
    said: tuple[tuple[int, int], ...]
    choices: tuple[DecisionPoint, ...]
    weight: float = 1.0
    strange: tuple[int, ...] = ()
    key: int = 0

    def estranged(self, p: float, rng: np.random.Generator) -> TrainingExample:
        """The lesson with some tokens strange, but none of those that are to be said.

        Each is with the same chance, which is anything from 0 to ``p`` from lesson to lesson. Who
        cannot know a word can still see whether it is the same one again: so that comparing the
        report with the task is learned, not a list of what good, bad and unknown lead to.
        """
        kept = {token for _, token in self.said} | {t for c in self.choices for t in c.targets}
        others = sorted(set(self.tokens) - kept)
        drawn = rng.random(len(others)) < rng.uniform(0, p)
        strange = tuple(t for t, is_drawn in zip(others, drawn, strict=True) if is_drawn)
        return replace(self, strange=strange, key=int(rng.integers(2**31)))


class DecisionRecorder(TrajectoryCallback):
    """Records each world's decisions, with the dialogues in which they were made, beside its
    trajectory."""

    def __init__(self) -> None:
        super().__init__()
        self.decided: dict[int, list[tuple[Dialogue, Decision]]] = {}

    def on_decision(self, i: int, dialogue: Dialogue, decision: Decision) -> None:
        if decision.command is not None:
            self.decided.setdefault(i, []).append((dialogue, decision))


class ExpertPlanner(OraclePlanner):
    """The oracle, but one that looks: what it says to pick up it has examined before, even where
    nothing else is left. Whoever imitates it learns to read reports, not to count them.

    With the chance ``slips`` a turn goes to examining any item that is named, in place of what
    is right. `taught` leaves these turns out: what is learned is how to go on after a mistake, not
    to make it (noise injection, arXiv 1703.09327).
    """

    def __init__(self, slips: float = 0.0) -> None:
        super().__init__()
        self.slips = slips
        self._slipped: set[tuple[int, int]] = set()

    def begin(self, worlds: Worlds) -> None:
        super().begin(worlds)
        self._slipped.clear()

    def taught(
        self, decided: Sequence[tuple[Dialogue, Decision]]
    ) -> list[tuple[Dialogue, Decision]]:
        """What was decided in an episode, but for the slips."""
        return [(d, x) for d, x in decided if (d.world, len(d.turns)) not in self._slipped]

    def _one(self, dialogue: Dialogue) -> Decision:
        decision = self._right(dialogue)
        rng = np.random.default_rng([dialogue.seed, len(dialogue.turns)])
        if rng.random() < self.slips:
            command = Command("examine", one_of(rng, dialogue.items()))
            if command != decision.command:
                self._slipped.add((dialogue.world, len(dialogue.turns)))
                return Decision(command.sentence(), command)
        return decision

    def _right(self, dialogue: Dialogue) -> Decision:
        decision = super()._one(dialogue)
        assert self._worlds is not None and decision.command is not None
        item = decision.command.item
        world = self._worlds.world(dialogue.world)
        if isinstance(world, SecretSearch) and item in world.reachable - examined(dialogue):
            command = Command("examine", item)
            return Decision(command.sentence(), command)
        return decision


class RolloutCollector:
    """Plays episodes of training families. ``n`` is the most of one family at a time."""

    def __init__(
        self, n: int, families: Sequence[TaskFamily] = TRAINING, actor: str = "scripted"
    ) -> None:
        self.n = n
        self.families = tuple(families)
        self.actor: Actor = make_actor(actor)
        self._worlds: dict[int, Worlds] = {}

    def draw(self, n: int, rng: np.random.Generator) -> list[int]:
        """How many of ``n`` episodes are of each family."""
        shares = np.array([f.share for f in self.families])
        return [int(k) for k in rng.multinomial(n, shares / shares.sum())]

    def play(
        self, planner: Planner, number: int, seeds: Sequence[int]
    ) -> tuple[list[Episode], DecisionRecorder]:
        """Play one family, by its number, and note what was decided."""
        family = self.families[number]
        if number not in self._worlds:
            self._worlds[number] = make_worlds(
                family.task, self.n, items="train", **dict(family.settings)
            )
        p = family.irrelevant
        reporter = make_reporter("irrelevant", p=p) if p else make_reporter(family.reporter)
        team = Team(planner, self.actor, reporter, MAX_TURNS, family.patience)
        notes = DecisionRecorder()
        episodes = team.play(self._worlds[number], seeds, notes)
        for episode in episodes:
            if episode.error is not None:
                raise BadInput(f"an episode of training broke: {episode.error.splitlines()[-1]}")
        return episodes, notes


def told_before(decided: Sequence[tuple[Dialogue, Decision]]) -> list[tuple[Dialogue, Decision]]:
    """One conditional episode's decisions, where the task says what examining would have told.

    Then there is nothing to look at first, and no verb to do it with. Other episodes stay as they
    are, and those of which a turn is left out (`ExpertPlanner.taught`).
    """
    if len(decided[-1][0].turns) >= len(decided):
        return list(decided)
    looked = [d.command is not None and d.command.verb == "examine" for _, d in decided]
    n = sum(looked)
    if not all(looked[:n]) or n == len(decided):
        return list(decided)
    fact = _secret_alone(decided[n][0].turns[-1].report)
    if fact is None or len({d.command for _, d in decided[:n]}) > 1:
        return list(decided)
    task = f"The {fact.subject} {fact.attribute}. {decided[0][0].task}"
    verbs = tuple(v for v in VERBS if v != "examine")
    return [(replace(d, task=task, verbs=verbs, turns=d.turns[n:]), x) for d, x in decided[n:]]


def _secret_alone(report: Report) -> Fact | None:
    """The secret property that a scripted report states, where it states nothing else."""
    if len(report.facts) != 1 or len(report.done) != 1:
        return None
    (fact,), (command,) = report.facts, report.done
    plain = with_attributes(carried_out(command), fact.subject, [fact.attribute])
    return fact if fact.predicate == SECRET_PROPERTY and report.text == plain.text else None


def with_boxes(
    decided: Sequence[tuple[Dialogue, Decision]], rng: np.random.Generator
) -> list[tuple[Dialogue, Decision]]:
    """One episode's decisions, told of boxes and balls in place of items that nobody examined.

    Any verb can be said then. Where deeds are what the sentence says, one box in five is opened, so
    that the sentence alone says whether to open, to pick up or to put.
    """
    first = decided[0][0]
    commands = [t.command for t in decided[-1][0].turns] + [decided[-1][1].command]
    looked = {c.item for c in commands if c and c.verb == "examine"}
    texts: dict[str, str] = {}
    items: dict[Item, Item] = {}
    opened: set[Item] = set()
    for item in first.items():
        other = Item(one_of(rng, ("box", "box", "ball")), item.colour)
        if item in looked or other in items.values() or rng.random() < 0.25:
            continue
        items[item] = other
        can_open = other.shape == "box" and "open" in first.verbs and rng.random() < 0.2
        for verb, past in (("go to", "went to"), ("pick up", "picked up")):
            deed = f"{verb} the {item}"
            if can_open and first.task.count(deed) == first.task.count(str(item)) == 1:
                opened.add(item)
                texts[deed] = f"open the {other}"
                texts[f"I {past} the {item}"] = f"I opened the {other}"
        texts[str(item)] = str(other)

    def renamed(text: str) -> str:
        for old, new in texts.items():
            text = text.replace(old, new)
        return text

    def relabelled(command: Command) -> Command:
        verb = "open" if command.item in opened else command.verb
        target = command.target and items.get(command.target, command.target)
        return Command(verb, items.get(command.item, command.item), target)

    def relabelled_report(report: Report) -> Report:
        return Report(
            renamed(report.text),
            tuple(
                replace(
                    f, subject=items.get(f.subject, f.subject), value=texts.get(f.value, f.value)
                )
                for f in report.facts
            ),
            tuple(map(relabelled, report.done)),
            tuple(map(relabelled, report.not_managed)),
        )

    pairs = []
    for dialogue, decision in decided:
        turns = []
        for turn in dialogue.turns:
            command = turn.command and relabelled(turn.command)
            utterance = command.sentence() if command else turn.said
            turns.append(Turn(utterance, command, relabelled_report(turn.report)))
        assert decision.command is not None
        command = relabelled(decision.command)
        pairs.append(
            (
                replace(dialogue, task=renamed(dialogue.task), verbs=VERBS, turns=tuple(turns)),
                Decision(command.sentence(), command),
            )
        )
    return pairs


def lessons_of(
    decided: Sequence[tuple[Dialogue, Decision]],
    ask: Callable[[Dialogue], ScoringRequest],
    weight: float = 1.0,
) -> list[TrainingExample]:
    """What one episode teaches: one lesson, as far as its turns' texts go on from one another.

    ``ask`` is how the Planner turns a dialogue into tokens. Where a tokenizer joins the end of a
    command with what follows it, the text before is a lesson of its own.
    """
    lessons: list[TrainingExample] = []
    tokens: tuple[int, ...] = ()
    said: list[tuple[int, int]] = []
    choices: list[DecisionPoint] = []
    for dialogue, decision in decided:
        question = ask(dialogue)
        taken = dialogue.candidates().index(decision.command)
        tail = question.continuations[taken]
        if question.context[: len(tokens)] != tokens:
            lessons.append(TrainingExample(tokens, tuple(said), tuple(choices), weight))
            said, choices = [], []
        end = len(question.context) - 1
        said += [(end + k, token) for k, token in enumerate(tail)]
        choices += _choices(question, taken, end)
        tokens = question.context + tail[:-1]
    return [*lessons, TrainingExample(tokens, tuple(said), tuple(choices), weight)]


def _choices(question: ScoringRequest, taken: int, end: int) -> list[DecisionPoint]:
    """Where the candidates part along the one that was taken."""
    trie = build_trie(question.context[-1], question.continuations)
    nexts: dict[int, dict[int, None]] = {}
    for path, tail in zip(trie.paths, question.continuations, strict=True):
        for node, token in zip(path, tail, strict=True):
            nexts.setdefault(node, {})[token] = None
    found = []
    for k, (node, token) in enumerate(
        zip(trie.paths[taken], question.continuations[taken], strict=True)
    ):
        targets = tuple(nexts[node])
        if len(targets) > 1:
            found.append(DecisionPoint(end + k, targets, targets.index(token)))
    return found
