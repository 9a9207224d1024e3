"""Demonstrations: everything that the small Planner is trained on.

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
from agents.episode import Episode
from agents.messages import Fact, Report
from agents.planner.oracle import OraclePlanner, examined
from agents.protocols import Actor, Planner
from agents.reporter import make_reporter
from agents.reporter.scripted import carried_out, with_attributes
from agents.team import Team
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
from models.language.candidate_scorer import ScoringRequest
from models.language.candidate_trie import build_trie

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
    # The sentence names the action, so that no verb is learned by heart.
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
    """A dialogue in tokens, with the Planner's choices in it.

    ``command_tokens`` are the commands' tokens, as (position of the output that predicts it,
    token); ``decision_points`` the places where the candidates part. ``weight`` is 1 in imitation
    and the advantage in reinforcement. ``random_tokens`` have random embeddings, which ``key``
    draws, wherever they stand.
    """

    tokens: tuple[int, ...]
    command_tokens: tuple[tuple[int, int], ...]
    decision_points: tuple[DecisionPoint, ...]
    weight: float = 1.0
    random_tokens: tuple[int, ...] = ()
    key: int = 0

    def with_random_embeddings(self, p: float, rng: np.random.Generator) -> TrainingExample:
        """The example with random embeddings for some tokens, but for none of the commands'.

        Each token is drawn with one probability, which is uniform from 0 to ``p`` from example to
        example. A word that cannot be known can still be recognised where it occurs again, so what
        is learned is to compare the report with the task, not a list of what good, bad and unknown
        lead to.

        Args:
            p: The largest share of tokens with random embeddings.
            rng: Draws the tokens and ``key``.
        """
        kept = {token for _, token in self.command_tokens} | {
            t for c in self.decision_points for t in c.targets
        }
        others = sorted(set(self.tokens) - kept)
        drawn = rng.random(len(others)) < rng.uniform(0, p)
        tokens = tuple(t for t, is_drawn in zip(others, drawn, strict=True) if is_drawn)
        return replace(self, random_tokens=tokens, key=int(rng.integers(2**31)))


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
    """The oracle, but it examines each item before it picks it up, even the last one left. A
    policy that imitates it learns to read reports, not to count them.

    With probability ``noise`` a turn examines any named item instead. `without_noise` leaves these
    turns out: the policy learns to recover from a mistake, not to make it (noise injection, DART,
    arXiv 1703.09327).
    """

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise
        self._noisy: set[tuple[int, int]] = set()

    def begin(self, worlds: Worlds) -> None:
        super().begin(worlds)
        self._noisy.clear()

    def without_noise(
        self, decided: Sequence[tuple[Dialogue, Decision]]
    ) -> list[tuple[Dialogue, Decision]]:
        """An episode's decisions without the injected ones."""
        return [(d, x) for d, x in decided if (d.world, len(d.turns)) not in self._noisy]

    def _one(self, dialogue: Dialogue) -> Decision:
        decision = self._without_noise(dialogue)
        rng = np.random.default_rng([dialogue.seed, len(dialogue.turns)])
        if rng.random() < self.noise:
            command = Command("examine", one_of(rng, dialogue.items()))
            if command != decision.command:
                self._noisy.add((dialogue.world, len(dialogue.turns)))
                return Decision(command.sentence(), command)
        return decision

    def _without_noise(self, dialogue: Dialogue) -> Decision:
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
        """Play episodes of one family and record the decisions.

        Args:
            planner: The Planner.
            number: The index of the family.
            seeds: The seed of each episode.

        Raises:
            BadInput: Where an episode broke.
        """
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


def with_prior_knowledge(
    decided: Sequence[tuple[Dialogue, Decision]],
) -> list[tuple[Dialogue, Decision]]:
    """A conditional episode's decisions, in which the task states what examining would reveal.

    Then there is nothing to examine, nor a verb to do it with. Other episodes stay as they are,
    and so do those without all of their turns (`ExpertPlanner.without_noise`).
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


def relabelled_as_boxes(
    decided: Sequence[tuple[Dialogue, Decision]], rng: np.random.Generator
) -> list[tuple[Dialogue, Decision]]:
    """An episode's decisions, in which items that were not examined are boxes and balls instead.

    All verbs are then candidates. Where the sentence names the action, one box in five is opened,
    so that only the sentence decides between opening, picking up and putting.

    Args:
        decided: The episode's dialogues and decisions.
        rng: Draws the items.
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
            utterance = command.sentence() if command else turn.utterance
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


def training_examples(
    decided: Sequence[tuple[Dialogue, Decision]],
    ask: Callable[[Dialogue], ScoringRequest],
    weight: float = 1.0,
) -> list[TrainingExample]:
    """The training examples of one episode: one, as far as each turn's text continues the last.

    Where a tokenizer joins the end of a command with what follows, a new example begins.

    Args:
        decided: The episode's dialogues and decisions.
        ask: Turns a dialogue into tokens, as the Planner does.
        weight: The weight of the examples.
    """
    examples: list[TrainingExample] = []
    tokens: tuple[int, ...] = ()
    command_tokens: list[tuple[int, int]] = []
    points: list[DecisionPoint] = []
    for dialogue, decision in decided:
        request = ask(dialogue)
        taken = dialogue.candidates().index(decision.command)
        tail = request.continuations[taken]
        if request.context[: len(tokens)] != tokens:
            examples.append(TrainingExample(tokens, tuple(command_tokens), tuple(points), weight))
            command_tokens, points = [], []
        end = len(request.context) - 1
        command_tokens += [(end + k, token) for k, token in enumerate(tail)]
        points += _decision_points(request, taken, end)
        tokens = request.context + tail[:-1]
    return [*examples, TrainingExample(tokens, tuple(command_tokens), tuple(points), weight)]


def _decision_points(request: ScoringRequest, taken: int, end: int) -> list[DecisionPoint]:
    """Where the candidates part along the one that was taken."""
    trie = build_trie(request.context[-1], request.continuations)
    nexts: dict[int, dict[int, None]] = {}
    for path, tail in zip(trie.paths, request.continuations, strict=True):
        for node, token in zip(path, tail, strict=True):
            nexts.setdefault(node, {})[token] = None
    points = []
    for k, (node, token) in enumerate(
        zip(trie.paths[taken], request.continuations[taken], strict=True)
    ):
        targets = tuple(nexts[node])
        if len(targets) > 1:
            points.append(DecisionPoint(end + k, targets, targets.index(token)))
    return points
