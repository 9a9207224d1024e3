"""The small Planner's training: demonstrations, losses, adapters, on tiny models."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from agents.dialogue import Decision
from agents.planner import adapter as adapters
from agents.planner.demonstrations import (
    TRAINING,
    ExpertPlanner,
    RolloutCollector,
    TaskFamily,
    TrainingExample,
    families_without,
    relabelled_as_boxes,
    training_examples,
    with_prior_knowledge,
)
from agents.planner.imitation import (
    Objective,
    PlannerImitation,
    PlannerImitationConfig,
    imitation_losses,
)
from agents.planner.options import PlannerOptions
from agents.planner.oracle import OraclePlanner, examined
from agents.planner.policy import PlannerPolicy, batches_of
from agents.planner.policy_adapters import load_adapters, save_adapter
from agents.planner.processor_registry import default_processors, parse_processors
from agents.planner.processors import DecisionProcessor
from agents.planner.reinforcement import (
    PlannerReinforcement,
    PlannerReinforcementConfig,
    SamplingPlanner,
)
from envs.commands import VERBS, Command
from envs.errors import BadInput
from envs.items import HELD_OUT_ITEMS
from envs.phrasings import CONDITIONAL, SEARCH
from models.language.adapters import WEIGHTS
from tests.agents.tiny import dialogue, tiny_model, tiny_tokenizer
from tests.models.training.recorder import train

ONE = (TaskFamily("conditional", "conditional", {"room_size": 6, "n_items": 3}, 1.0),)


def tiny_policy(
    tmp_path: Path, kind: str = "llama", seed: int = 0, examples: int = 0
) -> PlannerPolicy:
    options = PlannerOptions(cache=tmp_path)
    model = tiny_model(kind)
    return PlannerPolicy(
        model, tiny_tokenizer(), rank=4, seed=seed, examples=examples, options=options
    )


def oracle_examples(who: PlannerPolicy, n: int = 3) -> list[TrainingExample]:
    _, notes = RolloutCollector(n, ONE).play(OraclePlanner(), 0, range(7, 7 + n))
    found = []
    for decided in notes.decided.values():
        found += training_examples(decided, who.request)
    return found


def test_families_are_left_out_by_pattern() -> None:
    left = [f.name for f in families_without(["search*", "*talkative"])]
    assert left == ["conditional", "conditional, impatient", "conditional, deeds"]
    assert families_without([]) == TRAINING
    assert [f.task for f in families_without(["con*", "sea*"], True)] == ["visual-conditional"] * 2
    with pytest.raises(BadInput, match="unknown family 'serach'; did you mean 'search"):
        families_without(["serach"])
    with pytest.raises(BadInput, match="there is no family to train on"):
        families_without(["*"])


def test_training_shows_nothing_of_what_is_called_zero_shot() -> None:
    for family in TRAINING:
        assert family.task in ("conditional", "search")
        phrasings = {"conditional": CONDITIONAL, "search": SEARCH}[family.task]["train"]
        settings = dict(family.settings)
        assert set(settings.pop("phrasings")) <= set(phrasings)
        assert family.task == "conditional" or settings.pop("n_items", 4) <= 5
        # No other words, no other items.
        assert set(settings) <= {"asked", "deeds", "n_items"}
    school = RolloutCollector(2)
    for number in range(len(TRAINING)):
        _, notes = school.play(OraclePlanner(), number, range(2))
        for decided in notes.decided.values():
            assert not set(decided[-1][0].items()) & set(HELD_OUT_ITEMS)


def test_the_teacher_looks_before_it_picks_up() -> None:
    families = tuple(TaskFamily("", "search", {"n_items": n, "room_size": 6}, 1.0) for n in (2, 4))
    school = RolloutCollector(20, families)
    for number in range(2):
        episodes, _ = school.play(ExpertPlanner(), number, range(20))
        assert all(e.success for e in episodes)
        for episode in episodes:
            *looked, picked = [turn.command for turn in episode.turns]
            assert picked.verb == "pick up" and looked[-1] == Command("examine", picked.item)
            assert episode.turns[-2].report.text.endswith("property good.")


def test_a_teacher_that_slips_is_imitated_in_all_but_its_slips(tmp_path: Path) -> None:
    school = RolloutCollector(20, (TaskFamily("", "search", {"n_items": 4, "room_size": 8}, 1.0),))
    teacher = ExpertPlanner(noise=0.4)
    _, notes = school.play(teacher, 0, range(20))
    slipped = 0
    for decided in notes.decided.values():
        taught = teacher.without_noise(decided)
        slipped += len(decided) - len(taught)
        for before, decision in taught:
            assert decision.command is not None
            if decision.command.verb == "examine":
                # What is next in the task's list, whatever was looked at by mistake.
                left = [i for i in before.items() if i not in examined(before)]
                assert decision.command.item == left[0]
            else:
                told = f"I examined the {decision.command.item}, it has secret property good."
                assert told in [t.report.text for t in before.turns]
    assert 10 < slipped < 80
    # A slip is read, as part of the dialogue, and not said.
    who = tiny_policy(tmp_path)
    decided = next(
        v for v in notes.decided.values() if 0 < len(v) - len(teacher.without_noise(v)) < 3
    )
    lessons = training_examples(teacher.without_noise(decided), who.request)
    said = [tiny_tokenizer().decode([t for _, t in x.command_tokens]) for x in lessons]
    everything = training_examples(decided, who.request)
    assert lessons[-1].tokens == everything[-1].tokens
    assert sum(t.count("the ") for t in said) == len(teacher.without_noise(decided)) < len(decided)
    # What was seen by mistake cannot be told beforehand.
    _, notes = RolloutCollector(20).play(teacher, 0, range(20))
    for decided in notes.decided.values():
        taught = teacher.without_noise(decided)
        if taught and len(taught[-1][0].turns) >= len(taught):
            assert with_prior_knowledge(taught) == taught
    # Without slips it is the teacher as it was.
    plain = ExpertPlanner()
    _, notes = school.play(plain, 0, range(20))
    assert all(plain.without_noise(v) == v for v in notes.decided.values())


def test_a_lesson_holds_what_was_said_and_where_candidates_part(tmp_path: Path) -> None:
    who = tiny_policy(tmp_path)
    (lesson, *_) = oracle_examples(who, 1)
    text = tiny_tokenizer().decode([t for _, t in lesson.command_tokens])
    assert text.startswith(" Examine the ") and ". Pick up the " in text
    for position, token in lesson.command_tokens[:-1]:
        # The token that is predicted at a position is the one that follows it.
        if position + 1 < len(lesson.tokens):
            assert lesson.tokens[position + 1] == token
    said = dict(lesson.command_tokens)
    assert lesson.decision_points
    for choice in lesson.decision_points:
        assert len(set(choice.targets)) == len(choice.targets) > 1
        assert choice.targets[choice.taken] == said[choice.position]


def test_a_strange_word_is_one_vector_wherever_it_stands_and_none_is_to_be_said(
    tmp_path: Path,
) -> None:
    who = tiny_policy(tmp_path)
    lesson = oracle_examples(who, 1)[0]
    strange = lesson.with_random_embeddings(0.5, np.random.default_rng(3))
    said = {t for _, t in lesson.command_tokens} | {
        t for c in lesson.decision_points for t in c.targets
    }
    assert strange.random_tokens and not set(strange.random_tokens) & said
    assert lesson.with_random_embeddings(0.5, np.random.default_rng(3)) == strange
    assert not lesson.with_random_embeddings(0.0, np.random.default_rng(3)).random_tokens
    ids = torch.tensor([lesson.tokens, lesson.tokens])
    reader = who.accelerator.unwrap_model(who.reader)
    plain, changed = (reader._embed(ids, [lesson, other]) for other in (lesson, strange))
    assert torch.equal(plain[0], changed[0]) and torch.equal(plain[0], plain[1])
    for token in set(lesson.tokens):
        at = [k for k, t in enumerate(lesson.tokens) if t == token]
        assert all(torch.equal(changed[1, k], changed[1, at[0]]) for k in at)
        assert torch.equal(changed[1, at[0]], plain[1, at[0]]) == (
            token not in strange.random_tokens
        )
    usual, found = (x[1].float().pow(2).mean().sqrt() for x in (plain, changed))
    assert 0.5 < found / usual < 2
    with torch.no_grad():
        first, other = (who.decisions([x])[0] for x in (lesson, strange))
    assert not torch.allclose(first, other)


def test_boxes_take_the_place_of_what_nobody_examined() -> None:
    deeds = next(f for f in TRAINING if f.name == "conditional, deeds")
    _, notes = RolloutCollector(40, (deeds,)).play(ExpertPlanner(), 0, range(40))
    rng = np.random.default_rng(0)
    verbs, could = set(), set()
    for decided in notes.decided.values():
        told = relabelled_as_boxes(decided, rng)
        assert len(told) == len(decided)
        for (now, decision), (before, _) in zip(told, decided, strict=True):
            assert decision.command in now.candidates() and now.verbs == VERBS
            assert len(now.items()) == len(before.items())
            for turn in now.turns:
                assert turn.command is not None and turn.utterance == turn.command.sentence()
            could |= {c.verb for c in now.candidates()}
        sentence = decision.utterance.rstrip(".")
        assert f"{sentence[0].lower()}{sentence[1:]}" in now.task
        verbs.add(decision.command.verb)
    assert "open" in could and verbs == {*VERBS}


def test_what_examining_would_tell_can_be_told_beforehand() -> None:
    families = {f.name: k for k, f in enumerate(TRAINING)}
    school = RolloutCollector(10)
    for name in ("conditional, deeds", "conditional, impatient", "search 5"):
        _, notes = school.play(ExpertPlanner(), families[name], range(10))
        for decided in notes.decided.values():
            told, last = with_prior_knowledge(decided), decided[-1][1].command
            assert told[-1][1].command == last
            looked = [d.command for _, d in decided if d.command and d.command.verb == "examine"]
            if len(set(looked)) > 1:
                assert told == decided
                continue
            assert all(d.command and d.command.verb != "examine" for _, d in told)
            start = told[0][0]
            assert start.turns == () and "examine" not in start.verbs
            assert start.task.startswith(f"The {looked[0].item} has secret property ")
            assert start.task.endswith(decided[0][0].task)


@pytest.mark.parametrize("examples", [0, 2])
def test_choices_give_the_probability_by_which_the_planner_decides(
    tmp_path: Path, examples: int
) -> None:
    who = tiny_policy(tmp_path, examples=examples)
    with torch.no_grad():  # adapters that do something, so that they must be read anew
        who.decisions(oracle_examples(who, 1))
        for k, p in enumerate(who.parameters().values()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    who.sync()
    _, notes = RolloutCollector(1, ONE).play(OraclePlanner(), 0, [7])
    decided = notes.decided[0]
    (lesson,) = training_examples(decided, who.request)
    whole = who.planner.scoring_request(decided[-1][0]).context
    assert whole == (*who.planner.prefix, *lesson.tokens[: len(whole) - len(who.planner.prefix)])
    assert (len(who.planner.prefix) > 100) == bool(examples)
    logp, taken, _ = who.decisions([lesson])
    learned = logp.gather(1, taken[:, None]).sum().item()
    scored = 0.0
    for asked, decision in decided:
        scores = who.planner.choose([asked])[0].scores
        assert sum(map(math.exp, scores.values())) == pytest.approx(1, abs=1e-4)
        scored += scores[decision.utterance]
    assert learned == pytest.approx(scored, abs=1e-3)


def test_what_is_padded_is_not_seen(tmp_path: Path) -> None:
    who = tiny_policy(tmp_path)
    lessons = sorted(oracle_examples(who, 4), key=lambda x: len(x.tokens))
    together, _, owner = who.decisions(lessons)
    alone, _, _ = who.decisions(lessons[:1])
    mine = together[owner == 0]
    assert torch.allclose(mine[:, : alone.shape[1]], alone, atol=1e-5)


def test_chunks_keep_every_lesson_and_their_size() -> None:
    lessons = [TrainingExample(tuple(range(n)), (), ()) for n in (5, 900, 70, 300, 2000, 20)]
    parts = batches_of(lessons, 1024)
    assert sorted(len(x.tokens) for part in parts for x in part) == [5, 20, 70, 300, 900, 2000]
    assert all(len(p) * max(len(x.tokens) for x in p) <= 1024 for p in parts if len(p) > 1)


@pytest.mark.parametrize("objective", ["choices", "tokens"])
def test_imitation_learns_and_resumes_exactly(tmp_path: Path, objective: Objective) -> None:
    config = PlannerImitationConfig(24, 2, 1e-2, objective)
    policy = tiny_policy(tmp_path)
    recorder = train(PlannerImitation(policy, RolloutCollector(2, ONE), config))
    losses = recorder.column("loss")
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:4])

    again = tiny_policy(tmp_path, seed=5)  # other first adapters, which the checkpoint replaces
    train(PlannerImitation(again, RolloutCollector(2, ONE), config), recorder.checkpoints[4])
    for a, b in zip(policy.parameters().values(), again.parameters().values(), strict=True):
        assert torch.equal(a, b)


def test_imitation_is_normalised_by_the_number_of_decisions_or_tokens(tmp_path: Path) -> None:
    """The losses of all batches add up to a mean over single decisions, worked out one by one."""
    policy = tiny_policy(tmp_path)
    examples = oracle_examples(policy, 3)
    for objective in ("choices", "tokens"):
        each: list[float] = []
        for example in examples:
            if objective == "choices":
                log_probabilities, taken, _ = policy.decisions([example])
                rows = zip(log_probabilities, taken, strict=True)
                each += [-row[k].item() for row, k in rows]
            else:
                logits = policy.logits([example], [[p for p, _ in example.command_tokens]])
                rows = zip(logits.log_softmax(-1), example.command_tokens, strict=True)
                each += [-row[token].item() for row, (_, token) in rows]
        assert len(each) > len(examples)
        total = sum(loss.item() for loss in imitation_losses(policy, examples, objective))
        assert total == pytest.approx(np.mean(each), rel=1e-4)


def test_reinforcement_learns_from_the_reward_alone_and_resumes(tmp_path: Path) -> None:
    """A reward for the first command's verb must be earned more and more often."""

    def reward(episodes, recorder) -> list[float]:
        assert recorder.n_worlds == len(episodes)
        assert all(recorder.n_steps(i) == e.steps for i, e in enumerate(episodes))
        firsts = [e.turns[0].command for e in episodes]
        return [float(first is not None and first.verb == "go to") for first in firsts]

    config = PlannerReinforcementConfig(10, 2, 8, 2e-2, kl=0.0)
    policy = tiny_policy(tmp_path)
    recorder = train(PlannerReinforcement(policy, RolloutCollector(16, ONE), config, reward))
    rewards = recorder.column("reward")
    assert np.mean(rewards[-3:]) > np.mean(rewards[:2]) + 0.25, rewards

    again = tiny_policy(tmp_path, seed=5)
    stage = PlannerReinforcement(again, RolloutCollector(16, ONE), config, reward)
    train(stage, recorder.checkpoints[8])
    for a, b in zip(policy.parameters().values(), again.parameters().values(), strict=True):
        assert torch.equal(a, b)


def test_the_kl_penalty_holds_the_policy_near_its_reference(tmp_path: Path) -> None:
    furthest: dict[float, float] = {}
    for kl in (0.0, 10.0):
        config = PlannerReinforcementConfig(6, 1, 8, 1e-2, kl)
        stage = PlannerReinforcement(
            tiny_policy(tmp_path),
            RolloutCollector(8, ONE),
            config,
            lambda episodes, recorder: [float(len(e.turns)) for e in episodes],
        )
        divergences = train(stage).column("divergence")
        assert divergences[0] == pytest.approx(0, abs=1e-6)  # nothing has moved yet
        assert all(d >= -1e-6 for d in divergences)
        furthest[kl] = max(divergences)
    assert furthest[10.0] < furthest[0.0]


def test_the_sampler_says_candidates_as_often_as_their_probability_says() -> None:
    class Fixed:
        def choose(self, dialogues):
            scores = {c.sentence(): math.log(1 / 1000) for c in dialogues[0].candidates()}
            names = list(scores)
            scores[names[0]], scores[names[1]] = math.log(0.7), math.log(0.3)
            return [Decision(names[0], Command.parse(names[0]), scores) for _ in dialogues]

    asked = [dialogue(world=k) for k in range(400)]
    said = [d.utterance for d in SamplingPlanner(Fixed(), seed=1).choose(asked)]  # type: ignore[arg-type]
    first = asked[0].candidates()[0].sentence()
    assert 0.6 < said.count(first) / 400 < 0.8
    assert said == [d.utterance for d in SamplingPlanner(Fixed(), seed=1).choose(asked)]  # type: ignore[arg-type]
    assert said != [d.utterance for d in SamplingPlanner(Fixed(), seed=2).choose(asked)]  # type: ignore[arg-type]


def test_the_temperature_divides_the_scores() -> None:
    """p ~ exp(score / T), worked out by hand: e ** (log 0.64 / 2) is 0.8, and so on."""
    scores = [math.log(0.64), math.log(0.32), math.log(0.04)]
    sampler = SamplingPlanner(None, seed=0, temperature=2.0)  # type: ignore[arg-type]
    total = 0.8 + math.sqrt(0.32) + 0.2
    expected = [0.8 / total, math.sqrt(0.32) / total, 0.2 / total]
    assert sampler.probabilities(scores) == pytest.approx(expected)
    cold = SamplingPlanner(None, seed=0, temperature=0.5)  # type: ignore[arg-type]
    assert cold.probabilities([0.0, math.log(3)]) == pytest.approx([0.1, 0.9])


def test_a_loss_that_is_not_finite_stops_in_one_sentence(tmp_path: Path) -> None:
    who = tiny_policy(tmp_path)
    before = {n: p.clone() for n, p in who.parameters().items()}
    with torch.no_grad():
        next(iter(who.parameters().values())).fill_(math.nan)
    stage = PlannerImitation(who, RolloutCollector(2, ONE), PlannerImitationConfig(2, 2))
    with pytest.raises(BadInput, match=r"not finite at step 1; .* or --dtype float32"):
        train(stage)
    rest = list(who.parameters().items())[1:]
    assert all(torch.equal(p, before[n]) for n, p in rest)


def test_a_checkpoint_of_another_rank_is_refused(tmp_path: Path) -> None:
    config = PlannerImitationConfig(1, 2)
    stage = PlannerImitation(tiny_policy(tmp_path), RolloutCollector(2, ONE), config)
    (saved,) = train(stage).checkpoints
    smaller = {n: t[..., :1] if t.ndim else t for n, t in saved.stage_state.items()}
    with pytest.raises(BadInput, match="the checkpoint is of another network"):
        train(stage, replace(saved, stage_state=smaller))


# Adapters on disk


@pytest.fixture
def trained(tmp_path: Path) -> tuple[PlannerPolicy, Path]:
    who = tiny_policy(tmp_path)
    with torch.no_grad():
        for k, p in enumerate(who.parameters().values()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
            p.copy_(p.bfloat16())
    who.sync()
    save_adapter(who, tmp_path / "adapter", "tiny")
    return who, tmp_path / "adapter"


def test_a_merged_adapter_is_what_peft_and_the_student_make_of_it(trained) -> None:
    who, folder = trained
    mine = tiny_model("llama")
    adapters.merge_adapter(mine, folder, "tiny")
    theirs = PeftModel.from_pretrained(tiny_model("llama"), folder)
    ids = torch.arange(20)[None] * 7 % 400
    expected = theirs(ids).logits
    assert not torch.allclose(expected, tiny_model("llama")(ids).logits, atol=1e-2)
    assert torch.allclose(mine(ids).logits, expected, atol=1e-4)
    assert torch.allclose(who.planner.model(ids).logits, expected, atol=1e-4)
    assert adapters.read_about(folder) == adapters.PlannerAdapter(
        "tiny", "constrained", 0, "short", default_processors("constrained")
    )


def test_training_can_begin_with_an_adapter(trained, tmp_path: Path) -> None:
    who, folder = trained
    again = tiny_policy(tmp_path, seed=3)
    load_adapters(again, [folder], "tiny")
    for a, b in zip(who.parameters().values(), again.parameters().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(BadInput, match="is for the model 'tiny', not for 'other'"):
        load_adapters(again, [folder], "other")
    with pytest.raises(BadInput, match="of another model or rank"):
        load_adapters(tiny_policy(tmp_path, "gpt2"), [folder], "tiny")


def test_training_can_begin_with_the_mean_of_adapters(trained, tmp_path: Path) -> None:
    who, folder = trained
    other = tiny_policy(tmp_path, seed=5)
    for p in other.parameters().values():
        p.data.normal_(generator=torch.Generator().manual_seed(p.numel()))
    save_adapter(other, tmp_path / "other", "tiny")
    model = tiny_model("llama")
    mean = PlannerPolicy(model, tiny_tokenizer(), rank=8, options=PlannerOptions(cache=tmp_path))
    load_adapters(mean, [folder, tmp_path / "other"], "tiny")
    # Two of rank 4 have room in one of rank 8.
    name = sorted(mean._lora_modules)[0]
    a, b, both = (x._lora_modules[name].get_delta_weight("default") for x in (who, other, mean))
    assert float(b.detach().abs().max()) > 0.1
    torch.testing.assert_close(both, (a + b) / 2, rtol=0.02, atol=0.02)
    with pytest.raises(BadInput, match="of another model or rank"):
        load_adapters(mean, [folder], "tiny")
    with pytest.raises(BadInput, match="is for the model 'tiny', not for 'other'"):
        load_adapters(mean, [folder, folder], "other")


def test_a_descendant_decides_as_those_it_begins_with(trained, tmp_path: Path) -> None:
    who, folder = trained
    default = adapters.read_about(folder).processors
    assert default == default_processors("constrained")

    def changed(changes: str) -> tuple[DecisionProcessor, ...]:
        return parse_processors(f"default,{changes}", default)

    doubting = changed("exploration-threshold:0.3,contrastive:6,repetition-penalty:5")
    who.planner.set_default_processors(doubting)
    save_adapter(who, tmp_path / "doubts", "tiny")
    who.planner.set_default_processors(changed("exploration-threshold:0.4,repetition-ban:3"))
    save_adapter(who, tmp_path / "seldom", "tiny")
    for given, init, expected in (
        ("default", ["doubts"], doubting),
        ("default", ["doubts", "adapter"], default),
        ("default", ["doubts", "seldom"], changed("exploration-threshold:0.4,repetition-ban:3")),
        (
            "default,exploration-threshold:0.5",
            ["doubts"],
            changed("exploration-threshold:0.5,contrastive:6,repetition-penalty:5"),
        ),
        ("default,contrastive:2", ["doubts", "adapter"], changed("contrastive:2")),
        ("none", ["doubts"], ()),
    ):
        options = PlannerOptions(cache=tmp_path, processors=given)
        other = PlannerPolicy(tiny_model("llama"), tiny_tokenizer(), rank=4, options=options)
        load_adapters(other, [tmp_path / name for name in init], "tiny")
        save_adapter(other, tmp_path / "child", "tiny")
        assert adapters.read_about(tmp_path / "child").processors == expected


def spoil(folder: Path, how: str) -> None:
    config = json.loads((folder / adapters.CONFIG).read_text())
    tensors = load_file(folder / WEIGHTS)
    name = sorted(tensors)[0]
    if how == "not plain LoRA":
        config["use_dora"] = True
    elif how == "cannot be read":
        (folder / WEIGHTS).write_bytes(b"\x80\x04K*.")
    elif how == "does not fit 'tiny'":
        tensors[name] = tensors[name][:, :3].contiguous()
    elif how == "not finite":
        tensors[name] = tensors[name] * math.nan
    elif how == "planner.json":
        (folder / adapters.ABOUT).write_text("[]")
    if how != "cannot be read":
        save_file(tensors, folder / WEIGHTS)
    (folder / adapters.CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    "how",
    ["not plain LoRA", "cannot be read", "does not fit 'tiny'", "not finite", "planner.json"],
)
def test_a_spoiled_adapter_is_refused_and_the_model_left_as_it_was(trained, how: str) -> None:
    _, folder = trained
    spoil(folder, how)
    model = tiny_model("llama")
    with pytest.raises(BadInput, match=how):
        adapters.merge_adapter(model, folder, "tiny")
    before = tiny_model("llama").state_dict()
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_an_adapter_for_another_model_names_both(trained) -> None:
    _, folder = trained
    with pytest.raises(BadInput, match="is for the model 'tiny', not for 'qwen'"):
        adapters.merge_adapter(tiny_model("llama"), folder, "qwen")
    with pytest.raises(BadInput, match="does not fit"):
        adapters.merge_adapter(tiny_model("gpt2"), folder, "tiny")


def test_adapters_have_rank_16_and_add_twice_their_product() -> None:
    policy = PlannerPolicy(tiny_model("llama"), tiny_tokenizer())
    config = policy.peft.peft_config["default"]
    assert (config.r, config.lora_alpha / config.r, policy.scale) == (16, 2.0, 2.0)
