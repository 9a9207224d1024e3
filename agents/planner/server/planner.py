"""The server Planner: any language model behind an OpenAI-compatible server.

vLLM, SGLang, llama.cpp, Ollama and hosted services all speak this protocol. The model is given
instructions and the dialogue with all commands that are possible, and answers as it likes; what
it means is read by ``replies.py``. Where the server can, it may be held to the commands
(``--choice server``), or asked how probable each of them is (``--choice score``).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from agents.dialogue import Decision, Dialogue, TokenCost
from agents.planner.layout import PromptLayout
from agents.planner.options import EXAMPLES, PlannerOptions
from agents.planner.processor_registry import default_processors, parse_processors
from agents.planner.processors import (
    DecisionContext,
    DecisionProcessor,
    choose,
    without_distribution,
)
from agents.planner.prompt import CHAT, Prompt
from agents.planner.random import no_candidates
from agents.planner.replies import read_reply
from agents.planner.server.client import ChatClient, Hopeless
from agents.planner.server.constraint import WAYS, working_constraint
from agents.planner.server.scored import ServerScorer, find_scorer
from agents.protocols import TeamMember
from envs.errors import BadInput

# Between the instructions and the dialogue in the prompt file.
_DIALOGUE = "Task: "


class ServerPlanner(TeamMember):
    """Requests each dialogue's next command from a server's model, several requests at a time.

    Repeated requests are answered from a cache on disk. A request that fails for good makes its
    own decision an error and leaves the others as they are.

    Raises:
        BadInput: The optional packages are missing; there is neither a key nor a server's address;
            or, once asked, the server cannot choose in the way that the options demand, or no
            request can succeed (a wrong key, no such model, nobody there).
    """

    def __init__(self, model: str, options: PlannerOptions | None = None) -> None:
        options = PlannerOptions() if options is None else options
        self.options = options
        self.client = ChatClient(model, options)
        self.prompt = Prompt(options.prompt or CHAT, options.examples or 0)
        self._constraint: str | None = None
        self._scorer: ServerScorer | None = None
        self._layout: PromptLayout | None = None
        self._processors: Sequence[DecisionProcessor] = ()
        self._has_decided = False

    def choose(self, dialogues: Sequence[Dialogue]) -> list[Decision]:
        """One decision for each dialogue, in their order."""
        self._start(dialogues)
        with ThreadPoolExecutor(self.options.concurrency) as pool:
            decisions = list(pool.map(self._decide, dialogues))
        hopeless = [d.error for d in decisions if isinstance(d.error, Hopeless)]
        if hopeless and len(hopeless) == len(decisions) and not self._has_decided:
            raise BadInput(str(hopeless[0]))
        self._has_decided |= len(hopeless) < len(decisions)
        return decisions

    def _start(self, dialogues: Sequence[Dialogue]) -> None:
        """Find out, once, whether the server can choose as the options demand."""
        first = next((d for d in dialogues if d.candidates()), None)
        if first is None:
            return
        options = self.options
        if options.choice == "server" and self._constraint is None:
            self._constraint = working_constraint(self.client, *self._messages(first))
        elif options.choice == "score" and self._scorer is None:
            examples = EXAMPLES if options.examples is None else options.examples
            self._layout = PromptLayout(options.prompt, examples, None, options.think > 0)
            self._scorer = find_scorer(
                self.client.http,
                self.client.where,
                self.client.model,
                self.client.key,
                options.concurrency,
            )
            rule = self._scorer.rule
            processors = parse_processors(options.processors, default_processors(rule))
            # A second dialogue would have to be scored for a counterfactual.
            self._processors = [
                p for p in without_distribution(processors, rule) if not p.needs_counterfactual
            ]

    def _decide(self, dialogue: Dialogue) -> Decision:
        if not dialogue.candidates():
            return no_candidates(dialogue)
        try:
            if self._scorer is not None and self._layout is not None:
                return self._scored(dialogue, self._scorer, self._layout)
            return self._asked(dialogue)
        except BadInput as error:
            return Decision("", None, error=error)

    def _asked(self, dialogue: Dialogue) -> Decision:
        """The command that the model answers with."""
        constraint = None
        if self._constraint is not None:
            sentences = [c.sentence() for c in dialogue.candidates()]
            constraint = WAYS[self._constraint](sentences)
        response = self.client.complete(
            *self._messages(dialogue), seed=self._seed(dialogue), constraint=constraint
        )
        return replace(read_reply(response.reply, dialogue), cost=response.cost)

    def _scored(self, dialogue: Dialogue, scorer: ServerScorer, layout: PromptLayout) -> Decision:
        """The command with the highest processed score, behind a thought where one is wanted."""
        thought, n_thought = "", 0
        if layout.thinks:
            before = layout.before_thought(dialogue)
            thought, n_thought = scorer.go_on(before, self.options.think, ["\n"])
        candidates = dialogue.candidates()
        sentences = [c.sentence() for c in candidates]
        text = layout.before_command(dialogue, 0, thought)
        scores = scorer.scores(text, [f" {s}" for s in sentences])
        context = DecisionContext(dialogue, candidates, np.array(scores))
        best = choose(self._processors, context)
        return Decision(
            sentences[best],
            candidates[best],
            dict(zip(sentences, scores, strict=True)),
            cost=TokenCost(thought=n_thought),
            thought=thought.strip(),
        )

    def _messages(self, dialogue: Dialogue) -> tuple[str, str]:
        """The prompt as what the system says and what the user says."""
        text = self.prompt.render(dialogue)
        at = text.rfind(f"\n{_DIALOGUE}")
        return (text[:at].strip(), text[at:].strip()) if at > 0 else ("", text)

    def _seed(self, dialogue: Dialogue) -> int:
        return (self.options.seed * 1_000_003 + dialogue.seed) % (1 << 31)
