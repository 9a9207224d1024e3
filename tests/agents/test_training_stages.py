"""Schedules, rewards, augmentation and limits of the training stages, worked out by hand.

Whatever takes long (playing, reading, gradient steps) is replaced by stand-ins with given values.
"""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import agents.actor.imitation as actor_imitation
import agents.planner.demonstrations as demonstrations
import agents.planner.imitation as planner_imitation
import agents.reporter.captioning as captioning
import agents.reporter.captions as captions
import agents.reporter.floor_robustness as floor_robustness
import agents.reporter.reinforcement as reporter_reinforcement
from agents.actor.imitation import ActorImitation, ActorImitationConfig
from agents.actor.map_memory import OBSERVATION_SIZE
from agents.actor.network import ActorNetwork
from agents.actor.ppo import ActorPPOConfig, CommandSB3VecEnv, make_ppo
from agents.dialogue import Decision, Turn
from agents.episode import Episode
from agents.messages import Report
from agents.planner.demonstrations import (
    TRAINING,
    RolloutCollector,
    TaskFamily,
    TrainingExample,
    relabelled_as_boxes,
)
from agents.planner.imitation import PlannerImitation, PlannerImitationConfig
from agents.planner.policy import SelectiveLogits
from agents.planner.reinforcement import (
    PlannerReinforcement,
    PlannerReinforcementConfig,
    success_reward,
)
from agents.reporter.captioning import Captioning, CaptioningConfig
from agents.reporter.floor_robustness import (
    COLUMNS,
    ROWS,
    FloorRobustness,
    FloorRobustnessConfig,
    floors,
    recoloured,
)
from agents.reporter.reinforcement import (
    PolicyUpdateConfig,
    ReporterReinforcement,
    ReporterReinforcementConfig,
    ReportRecorder,
    ReportSample,
)
from agents.team import Team
from envs.attributes import MARK, Attribute
from envs.commands import VERBS, Command
from envs.errors import BadInput
from envs.items import TRAIN_ITEMS
from models.training.process_group import ProcessGroup
from models.training.schedules import cosine_to_zero
from tests.agents.tiny import dialogue

COMMAND = Command("examine", TRAIN_ITEMS[0])
ALONE = ProcessGroup(torch.device("cpu"))
NOTHING: Any = None


def episode(success: bool | None, turns: int = 1, unparsed: int = 0) -> Episode:
    turn = Turn("Hm.", None, Report("What?"))
    return Episode(0, "a task", (turn,) * turns, success, 5, "max_turns", unparsed)


def test_a_command_may_take_64_steps_in_training_and_in_play() -> None:
    assert (Team.max_turns, Team.command_steps) == (20, 64)
    assert ReporterReinforcementConfig(1).patience == 64
    patience = {f.name: f.patience for f in TRAINING}
    impatient = {"conditional, impatient", "search, impatient"}
    assert patience == {name: 6 if name in impatient else 64 for name in patience}
    assert impatient < patience.keys()
    shares = {f.name: f.share for f in TRAINING}
    assert shares["conditional"] == 3.0 and sum(shares.values()) == pytest.approx(10.0)


def test_the_default_settings_of_the_training_stages() -> None:
    update = PolicyUpdateConfig()
    assert (update.kl, update.clip, update.epochs, update.batch) == (0.05, 0.2, 1, 64)
    planner = PlannerReinforcementConfig(1)
    assert (planner.kl, planner.learning_rate, planner.temperature) == (0.05, 1e-4, 1.0)
    assert ReporterReinforcementConfig(1).learning_rate == 1e-4
    assert (PlannerImitationConfig(1).learning_rate, CaptioningConfig(1).learning_rate) == (
        5e-4,
        1e-3,
    )
    worlds: Any = GivenWorlds()
    config = ActorPPOConfig(1, 200)
    assert (config.learning_rate, config.batch, config.epochs) == (1e-4, 2048, 3)
    ppo = make_ppo(ActorNetwork(channels=8, width=32), CommandSB3VecEnv(worlds), config)
    assert (ppo.gamma, ppo.ent_coef, ppo.target_kl, ppo.n_steps) == (0.99, 0.003, 0.03, 32)


def test_a_family_is_played_with_its_own_patience_and_12_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits: list[tuple[int, int]] = []

    def play(team: Team, worlds: Any, seeds: Any, callback: Any) -> list[Episode]:
        limits.append((team.max_turns, team.command_steps))
        return []

    monkeypatch.setattr(demonstrations.Team, "play", play)
    monkeypatch.setattr(demonstrations, "make_worlds", lambda *args, **settings: None)
    families = (
        TaskFamily("a", "conditional", {}, 3.0),
        TaskFamily("b", "conditional", {}, 1.0, patience=6),
    )
    collector = RolloutCollector(1, families)
    for number in range(2):
        collector.play(NOTHING, number, [1])
    assert limits == [(12, 64), (12, 6)]
    # Of 4,000 episodes three quarters are of the first family: 3,000 with a deviation of 27.
    drawn = collector.draw(4000, np.random.default_rng(0))
    assert sum(drawn) == 4000 and abs(drawn[0] - 3000) < 120


def test_episodes_that_nobody_judges_are_rewarded_like_failures() -> None:
    assert success_reward([episode(True), episode(False), episode(None)], NOTHING) == [1, 0, 0]


def test_the_planners_loss_is_a_share_of_its_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One decision between two: p = (0.8, 0.2), of which the second was taken with the advantage
    3, and the reference's (0.5, 0.5). KL = 0.8 ln 1.6 + 0.2 ln 0.4; of 4 episodes a quarter."""
    log_p = torch.tensor([[0.8, 0.2]]).log()
    batch = [TrainingExample((1, 2), (), (), weight=3.0)]
    policy: Any = SimpleNamespace(
        decisions=lambda examples: (log_p, torch.tensor([1]), torch.tensor([0]))
    )
    config = PlannerReinforcementConfig(1, kl=0.5)
    stage = PlannerReinforcement(policy, NOTHING, config)
    reference = torch.tensor([[0.5, 0.5]]).log()
    monkeypatch.setattr(stage, "_with_reference", lambda examples: [(batch, reference)])
    divergences: list[float] = []
    (loss,) = stage._losses(batch, 4, divergences)
    kl = 0.8 * math.log(1.6) + 0.2 * math.log(0.4)
    assert divergences == [pytest.approx(kl)]
    assert loss.item() == pytest.approx((0.5 * kl - 3 * math.log(0.2)) / 4)


def test_random_embeddings_have_the_vocabularys_mean_and_variance() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(64, 8).requires_grad_(False)
    table.weight.add_(5.0)
    reader = SelectiveLogits(SimpleNamespace(get_input_embeddings=lambda: table))  # type: ignore[arg-type]
    examples = [TrainingExample((3,), (), (), 1.0, (3,), key) for key in range(400)]
    drawn = reader._embed(torch.full((400, 1), 3), examples)[:, 0].detach()
    mean = table.weight.detach().mean(0)
    spread = (table.weight.detach() - mean).square().mean()
    assert torch.allclose(drawn.mean(0), mean, atol=0.25)
    assert float((drawn - mean).square().mean() / spread) == pytest.approx(1.0, abs=0.15)


def test_each_token_of_an_example_is_random_with_one_probability_up_to_the_largest() -> None:
    """Uniform from 0 to 0.8, so 0.4 on average, with a deviation of 0.23 between examples."""
    example = TrainingExample(tuple(range(200)), (), ())
    rng = np.random.default_rng(0)
    shares = [len(example.with_random_embeddings(0.8, rng).random_tokens) / 200 for _ in range(300)]
    assert np.mean(shares) == pytest.approx(0.4, abs=0.05) and max(shares) < 0.95
    assert np.std(shares) == pytest.approx(0.8 / math.sqrt(12), abs=0.04)


def test_a_quarter_of_the_items_keep_their_names_and_two_thirds_of_the_others_are_boxes() -> None:
    """Three items, none examined; of the boxes that the sentence says to pick up a fifth are
    opened instead."""
    command = Command.parse("pick up the striped blue cross")
    first = dialogue()
    first = type(first)(first.task, VERBS, seed=0, world=0)
    shapes: Counter[str] = Counter()
    opened = []
    for seed in range(1000):
        ((now, decision),) = relabelled_as_boxes(
            [(first, Decision(command.sentence(), command))], np.random.default_rng(seed)
        )
        assert decision.command is not None
        shapes.update(i.shape if i.shape in ("box", "ball") else "other" for i in now.items())
        if decision.command.item.shape == "box":
            opened.append(decision.command.verb == "open")
    total = shapes.total()
    assert total == 3000 and shapes["other"] / total == pytest.approx(0.25, abs=0.03)
    assert shapes["box"] / (shapes["box"] + shapes["ball"]) == pytest.approx(2 / 3, abs=0.03)
    assert np.mean(opened) == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize(("probability", "relabelled"), [(0.0, 0), (1.0, 3)])
def test_dialogues_are_relabelled_with_their_probability(
    probability: float, relabelled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(
        planner_imitation, "relabelled_as_boxes", lambda d, rng: calls.append(d) or d
    )
    monkeypatch.setattr(planner_imitation, "with_prior_knowledge", lambda d: d)
    monkeypatch.setattr(planner_imitation, "training_examples", lambda d, request: [])
    decided = {i: [(dialogue(world=i), Decision("x", COMMAND))] for i in range(3)}
    collector: Any = SimpleNamespace(
        draw=lambda n, rng: [3], play=lambda *args: ([], SimpleNamespace(decided=decided))
    )
    policy: Any = SimpleNamespace(request=None)
    config = PlannerImitationConfig(1, relabelling=probability)
    PlannerImitation(policy, collector, config)._demonstrations(0)
    assert len(calls) == relabelled


RATES = [cosine_to_zero(k, 20, 2.0) for k in range(20)]


def test_imitation_captioning_and_floors_learn_at_a_cosine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the step of the stage and of all its steps."""
    rates: list[float] = []

    def gradient_step(*args: Any, learning_rate: float, **settings: Any) -> float:
        rates.append(learning_rate)
        return 0.0

    for module in (planner_imitation, captioning, floor_robustness):
        monkeypatch.setattr(module, "gradient_step", gradient_step)
    policy: Any = None
    imitation = PlannerImitation(policy, NOTHING, PlannerImitationConfig(20, learning_rate=2.0))
    monkeypatch.setattr(imitation, "_demonstrations", lambda k: [])
    imitation._parameters, imitation._optimiser = [], NOTHING
    for_captions = Captioning(NOTHING, NOTHING, CaptioningConfig(20, learning_rate=2.0))
    monkeypatch.setattr(for_captions, "_loss", lambda captions: None)
    for_captions._captions = iter([[]] * 20)
    collector: Any = SimpleNamespace(play=lambda *args: [])
    network: Any = SimpleNamespace(encoder=None)
    sight = FloorRobustness(network, collector, FloorRobustnessConfig(20, learning_rate=2.0))
    monkeypatch.setattr(floor_robustness, "_loss", lambda *args: None)
    sight._teacher = sight._head = NOTHING
    for stage in (for_captions, sight):
        stage._parameters, stage._optimiser = [], NOTHING
        stage._processes, stage._share = ALONE, 1
    for stage in (imitation, for_captions, sight):
        rates.clear()
        for k in range(20):
            stage.step(k)
        assert rates == RATES, stage.name


def test_the_reporters_reward_is_a_weighted_sum_and_its_baseline_the_rest_of_the_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two worlds, three times each. The rewards 2 * a + b are 3, 0, 0 and 6, 6, 6: the advantages
    3, -1.5 and -1.5, while equal rewards teach nothing."""
    clip = np.zeros((8, 64, 64, 3), np.uint8)
    reports = [[ReportSample(clip, COMMAND, str(i), (1,), (2,), True, None)] for i in range(6)]
    config = ReporterReinforcementConfig(20, 2, 3, 2.0)
    components: Any = {
        "a": (2.0, lambda *args: [1, 0, 0, 3, 3, 3]),
        "b": (1.0, lambda *args: [1, 0, 0, 0, 0, 0]),
    }
    stage = ReporterReinforcement(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, components, config)
    stage._processes, stage._share, stage._optimiser = ALONE, 2, NOTHING
    played = [episode(success) for success in (True, False, False, True, True, True)]
    monkeypatch.setattr(stage, "_rollouts", lambda k: (played, None, reports))
    updates: list[tuple[list[tuple[str, float]], float]] = []

    def update_policy(*args: Any, learning_rate: float, **settings: Any) -> tuple[float, float]:
        updates.append(([(report.text, advantage) for report, advantage in args[2]], learning_rate))
        return 0.0, 0.0

    monkeypatch.setattr(reporter_reinforcement, "update_policy", update_policy)
    metrics = stage.step(13)
    assert updates == [([("0", 3.0), ("1", -1.5), ("2", -1.5)], RATES[13])]
    assert (metrics["a"], metrics["b"]) == pytest.approx((10 / 6, 1 / 6))
    assert metrics["success"] == pytest.approx(4 / 6)


def test_the_reference_is_the_reporter_as_it_was_when_the_stage_began() -> None:
    network, reference = nn.Linear(2, 2), nn.Linear(2, 2)
    network.device = torch.device("cpu")  # type: ignore[assignment]
    config = ReporterReinforcementConfig(1, 1, 2)
    stage = ReporterReinforcement(network, reference, *[NOTHING] * 4, config)  # type: ignore[arg-type]
    stage.begin()
    assert torch.equal(network.weight, reference.weight)


def test_more_than_nine_tenths_of_the_answers_must_be_no_commands_to_stop_the_run() -> None:
    reporter_reinforcement._check([episode(False, 20, unparsed=18)])
    with pytest.raises(BadInput, match="19 of the Planner's 20 answers"):
        reporter_reinforcement._check([episode(False, 20, unparsed=19)])


def test_a_report_matters_if_it_states_what_was_examined_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    white, black = Attribute(MARK, "white"), Attribute(MARK, "black")
    events = [SimpleNamespace(kind="examined", revealed=a) for a in (white, black)]
    rollout: Any = SimpleNamespace(command=COMMAND, events=events)
    monkeypatch.setattr(reporter_reinforcement, "is_true", lambda *args: True)
    for stated, matters in ((black, True), (white, False)):
        report: Any = SimpleNamespace(facts=[SimpleNamespace(attribute=stated)])
        reporter: Any = SimpleNamespace(
            begin=lambda worlds: None,
            report=lambda rollouts, dialogues, report=report: [report],
            samples=[SimpleNamespace(text="", prompt=(), tokens=())],
            clips=[None],
        )
        recorder = ReportRecorder(reporter)
        worlds: Any = SimpleNamespace(world=lambda i: None)
        recorder._worlds, recorder.reports = worlds, {0: []}
        recorder.report([rollout], [dialogue()])
        assert recorder.reports[0][0].matters is matters


def test_a_caption_shows_the_steps_of_its_own_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports after 5 and after 12 steps: the second clip shows the last 7."""
    shown: list[int] = []
    monkeypatch.setattr(captions, "clip_of", lambda recorder, i, steps: shown.append(steps))
    recorder = captions._CaptionRecorder()
    turn = Turn("x", COMMAND, Report("y"))
    for now in (5, 12):
        monkeypatch.setattr(recorder, "n_steps", lambda i, now=now: now)
        recorder.on_report(0, SimpleNamespace(turns=[turn]))  # type: ignore[arg-type]
    assert shown == [5, 7]


class GivenDraws:
    """Draws one matrix, of norm 3, and the factor 2."""

    def __init__(self) -> None:
        self.ranges: list[tuple[float, float]] = []

    def normal(self, size: tuple[int, ...]) -> np.ndarray:
        matrix = np.zeros(size)
        matrix[:, 0, 1] = 3.0
        return matrix

    def uniform(self, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
        self.ranges.append((low, high))
        return np.full(size, 2.0)


def test_a_recoloured_pixel_by_hand() -> None:
    """The matrix takes twice the second channel's difference to the first: (0, 10, 0) becomes
    (20, 0, 0). No channel falls below 76, that of the darkest floor, or rises above 255."""
    plain = floors()[0]
    frames = np.zeros((1, 64, 64, 3), np.float32)
    frames[0, ROWS, COLUMNS] = plain
    block = frames[0, ROWS, COLUMNS]
    red = float(plain[3, 3, 0])
    green = float(plain[3, 3, 1])
    block[3, 3, 1] += 10
    block[3, 4, 1] = 0
    draws: Any = GivenDraws()
    out = recoloured(frames.astype(np.uint8), np.array([0]), draws)[0, ROWS, COLUMNS]
    assert draws.ranges == [(0.7, 2.0)]
    assert out[3, 3, 0] == min(255, red + 20) and out[3, 3, 1] == green
    assert out[3, 4, 0] == max(76, plain[3, 4, 0] - 2 * plain[3, 4, 1])
    assert out.min() >= 76


class GivenActor(nn.Module):
    """Always takes action 0, and expects an outcome of 3."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = torch.zeros(len(observations), 7)
        logits[:, 0] = 50.0
        return logits + self.weight, torch.full((len(observations),), 3.0) + self.weight


class GivenWorlds:
    """200 worlds, of which 100 end their episodes in each step, and 50 of these succeed."""

    n = 200
    observations = np.zeros((200, OBSERVATION_SIZE), np.uint8)
    success = np.arange(200) % 4 < 3  # also where no episode ended

    def __init__(self) -> None:
        self.actions: list[np.ndarray] = []

    def step(self, actions: np.ndarray) -> np.ndarray:
        self.actions.append(actions)
        ended: np.ndarray = np.arange(200) % 4 >= 2
        return ended


def actor_stage(monkeypatch: pytest.MonkeyPatch) -> tuple[ActorImitation, GivenWorlds]:
    monkeypatch.setattr(
        actor_imitation, "expert_actions", lambda observations: np.full(len(observations), 6)
    )
    worlds: Any = GivenWorlds()
    config = ActorImitationConfig(20 * 32 * 200, 200, 2.0, batch=4, epochs=2)
    network: Any = GivenActor()
    stage = ActorImitation(network, NOTHING, config)
    stage._worlds = worlds
    return stage, worlds


@pytest.mark.parametrize(("k", "learners"), [(0, 0.0), (2, 0.5), (4, 1.0), (15, 1.0)])
def test_the_learners_share_rises_over_the_first_fifth_of_the_rounds(
    k: int, learners: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A twentieth of the learner's actions is random, of which a seventh each is 0 and 6."""
    stage, worlds = actor_stage(monkeypatch)
    assert stage.steps == 20
    (_, expert, _), success = stage._demonstrate(k, torch.Generator().manual_seed(0))
    actions = np.concatenate(worlds.actions)
    assert len(actions) == 32 * 200 and set(expert.tolist()) == {6}
    assert (actions == 0).mean() == pytest.approx(learners * (0.95 + 0.05 / 7), abs=0.02)
    others = ~np.isin(actions, (0, 6))
    assert others.mean() == pytest.approx(learners * 0.05 * 5 / 7, abs=0.01)
    assert success == 0.5


def test_the_actors_loss_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even logits cost log 7, and values of 3 where the outcome is 1 cost 4, of which half counts.

    A round of 6 demonstrations gives 2 * 6 // 4 = 3 gradient steps; the last 4 rounds are kept.
    """
    stage, _ = actor_stage(monkeypatch)
    losses: list[float] = []
    rates: list[float] = []

    def gradient_step(some: list[torch.Tensor], *args: Any, learning_rate: float, **_: Any) -> None:
        losses.extend(loss.item() for loss in some)
        rates.append(learning_rate)

    monkeypatch.setattr(actor_imitation, "gradient_step", gradient_step)
    observations = torch.zeros(6, OBSERVATION_SIZE, dtype=torch.uint8)
    latest = observations, torch.full((6,), 6), torch.ones(6)
    monkeypatch.setattr(stage, "_demonstrate", lambda k, generator: (latest, 0.5))
    stage._reset_due, stage._demonstrations = False, []
    stage._parameters, stage._optimiser = list(stage.network.parameters()), NOTHING
    monkeypatch.setattr(
        stage.network,
        "forward",
        lambda observations: (torch.zeros(len(observations), 7), torch.full((4,), 3.0)),
    )
    for k in range(20):
        stage.step(k)
        assert len(stage._demonstrations) == min(4, k + 1)
    assert losses == pytest.approx([math.log(7) + 0.5 * 4] * 60)
    assert rates == [rate for rate in RATES for _ in range(3)]
