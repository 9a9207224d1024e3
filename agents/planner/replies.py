"""From a language model's reply to a command: the one layer behind every backend.

Models asked for a command answer in prose, markdown, JSON, tags or tool calls, and many think
first. What is read, in this order, is the first of these that names any command:

1. an answer in a place of its own: a tool call, JSON, ``<answer>``, ``Action: …``, ``\\boxed{}``
2. lines that are a command and nothing else, outside of lists
3. such lines in lists, and what is emphasised or quoted
4. commands named in prose, apart from what is negated, asked, supposed or put off

Where that names two different commands, the reply is no command: which one was meant is not for
the reader to guess. Thoughts never become a command (``thoughts.py``).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agents.dialogue import Decision, Dialogue, one_line
from agents.planner.reply_structures import ToolCall, stated_answers, structured_commands
from agents.planner.thoughts import split_thought
from agents.verbs import PUT_BASE, VERB_FORMS
from envs.commands import MOVES, Command, Move
from envs.errors import BadInput
from envs.items import MINIGRID_SHAPES, Item, item_spans

LONGEST = 200  # characters of a reply without a command that are kept
READ = 40_000  # characters of an answer that are read: its last ones
# What a Planner names a command with at most; more is prose.
_LONGEST_LINE = 300


@dataclass(frozen=True)
class Reply:
    """What a language model answered.

    Attributes:
        text: The content.
        thought: What came in a field of its own for reasoning.
        calls: Its tool calls.
        refusal: Why it refused to answer.
        cut: Whether it was cut off, by the limit of its tokens.
    """

    text: str = ""
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    refusal: str = ""
    cut: bool = False


def read_reply(reply: Reply | str, dialogue: Dialogue) -> Decision:
    """The decision in a reply, whatever it holds.

    Returns:
        A decision whose ``command`` is a command of the grammar whose verb the Actor knows, and
        whose ``utterance`` is its sentence; or one without a command, with the beginning of the
        reply, and with the reason in ``problem``. ``thought`` is what the model thought.
    """
    if isinstance(reply, str):
        reply = Reply(reply)
    parts = split_thought(reply.text)
    thought = "\n".join(t for t in (reply.thought.strip(), parts.thought) if t)
    answer = parts.answer[-READ:]
    commands = _Reader(dialogue).commands(answer, reply.calls, reply.cut)
    usable = [c for c in commands if c.verb in dialogue.verbs]
    if len(usable) == 1 == len(commands):
        return Decision(usable[0].sentence(), usable[0], thought=thought)
    utterance = one_line(answer or reply.refusal or " ".join(c.arguments for c in reply.calls))
    problem = _problem(reply, commands, parts.is_open, bool(utterance), dialogue)
    return Decision(utterance[:LONGEST], None, thought=thought, problem=problem)


def _problem(
    reply: Reply, commands: list[Command], is_open: bool, has_answer: bool, dialogue: Dialogue
) -> str:
    """Why a reply holds no command, as the rest of a sentence that begins with the reply."""
    if len(commands) > 1:
        return f"names different commands, such as '{commands[0]}' and '{commands[1]}'"
    if commands:
        verbs = ", ".join(dialogue.verbs)
        return f"names a command that cannot be given here, '{commands[0].verb}' (only {verbs})"
    if is_open:
        return "is a thought that has no end" + (" within its tokens" if reply.cut else "")
    if reply.refusal:
        return "is a refusal"
    if not has_answer:
        behind = " behind its thought" if reply.thought or reply.text.strip() else ""
        return f"is empty{behind}" + (", cut off by the limit of tokens" if reply.cut else "")
    return "was cut off before it named a command" if reply.cut else "names no command"


class _Reader:
    """Finds the commands in the replies to one dialogue."""

    def __init__(self, dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self.items = dialogue.items()

    def commands(self, answer: str, calls: Iterable[ToolCall], cut: bool) -> list[Command]:
        """The different commands of the first kind of place that names any."""
        for text in _without_other_speakers(_cleaned(answer)):
            for commands in self._by_kind(text, tuple(calls), cut):
                if distinct := _distinct(commands):
                    return distinct
        return []

    def _by_kind(
        self, text: str, calls: tuple[ToolCall, ...], cut: bool
    ) -> Iterator[list[Command]]:
        structured = structured_commands(text, calls, self._in_text)
        final, answers = stated_answers(text)
        yield [c for a in final for c in self._in_text(a)]
        yield [*structured, *(c for a in answers for c in self._in_text(a))]
        lines = text.splitlines()
        if cut and lines:
            # The last name may have lost its end: "the red ring on the" left.
            lines = lines[:-1] + [line for line in lines[-1:] if _ENDED.search(line)]
        yield [c for line in lines if not _LIST.match(line) for c in self._exact(line)]
        yield [c for line in lines if _LIST.match(line) for c in self._exact(line)]
        yield [
            c
            for m in _EMPHASISED.finditer("\n".join(lines))
            for c in self._exact(m[m.lastindex or 0])
        ]
        firm, loose = self._in_prose("\n".join(lines))
        yield firm
        yield loose

    def _in_text(self, text: str) -> list[Command]:
        """The commands of an answer that stands in a place of its own."""
        if exact := self._exact(text):
            return exact
        firm, loose = self._in_prose(text)
        return firm or loose

    def _exact(self, line: str) -> list[Command]:
        """The command that a line is, or none."""
        if len(line) > _LONGEST_LINE:
            return []
        words = _plain(_LIST.sub("", line)).strip(_DRESSING)
        words = re.sub(r"^(?:planner|assistant) ?: ?", "", words).strip(_DRESSING)
        words = re.sub(r"^(?:please|now|next|first|okay|ok|sure|so|then),? ", "", words)
        try:
            return [self._resolved(Command.parse(words))]
        except BadInput:
            return []

    def _in_prose(self, text: str) -> tuple[list[Command], list[Command]]:
        """The commands that prose names, and those that it only calls possible."""
        firm: list[Command] = []
        loose: list[Command] = []
        for sentence in _SENTENCE.findall(_plain(text)):
            if sentence.rstrip().endswith("?"):
                continue
            sentence = _EMBEDDED.sub(r"\1 that", sentence)
            for start, command in self._mentions(sentence):
                clause = sentence[_clause_start(sentence, start) : start]
                behind = sentence[start : start + len(sentence)]
                end = _CLAUSE.search(behind)
                rest = behind[: end.start()] if end else behind
                if _NEGATED.search(clause) or _IF.search(sentence[:start]) or _IF.search(rest):
                    continue
                (loose if _POSSIBLE.search(clause) else firm).append(command)
        return firm, loose

    def _mentions(self, sentence: str) -> Iterator[tuple[int, Command]]:
        """Where a sentence names commands in the infinitive, and which."""
        spans = {start: (item, end) for item, start, end in item_spans(sentence)}
        for move in MOVES:
            for m in re.finditer(rf"\b{move}\b", sentence):
                yield m.start(), Move(move)
        for forms in (*VERB_FORMS, _PUT):
            for m in re.finditer(rf"\b(?:{forms.base}){_ARTICLE}", sentence):
                if m.end() not in spans:
                    continue
                item, end = spans[m.end()]
                if not (item.colour or item.texture or m[1] or item.shape in MINIGRID_SHAPES):
                    continue  # "open square" is no command
                if forms is not _PUT:
                    yield m.start(), self._resolved(Command(forms.name, item))
                    # "Pick up the ring or the cross": two commands.
                    while (more := _MORE.match(sentence, end)) and more.end() in spans:
                        other, end = spans[more.end()]
                        yield m.start(), self._resolved(Command(forms.name, other))
                    continue
                beside = re.compile(rf" (?:down )?{_BESIDE}{_ARTICLE}").match(sentence, end)
                if beside and beside.end() in spans:
                    target, _ = spans[beside.end()]
                    yield m.start(), self._resolved(Command("put", item, target))

    def _resolved(self, command: Command) -> Command:
        """The command with the full name of the one item of the dialogue that it is short for."""
        if isinstance(command, Move):
            return command
        item, target = self._full_name(command.item), command.target
        return Command(command.verb, item, target and self._full_name(target))

    def _full_name(self, name: Item) -> Item:
        fits = [i for i in self.items if _names(name, i)]
        return fits[0] if len(fits) == 1 and name not in self.items else name


def _distinct(commands: Iterable[Command]) -> list[Command]:
    """Each command once; of one that is short for another only the other."""
    every = list(dict.fromkeys(commands))
    return [c for c in every if not any(_is_short_for(c, o) for o in every if o != c)]


def _is_short_for(short: Command, full: Command) -> bool:
    if short.verb != full.verb or isinstance(short, Move):
        return False
    if (short.target is None) != (full.target is None):
        return False
    targets_fit = not short.target or not full.target or _names(short.target, full.target)
    return _names(short.item, full.item) and targets_fit


def _names(name: Item, item: Item) -> bool:
    """Whether a name may be short for that of an item."""
    return name.describes(item) and name.place in (None, item.place)


_DRESSING = " \t-*_`\"'.!,;:()[]{}<>#|=>~"
_LIST = re.compile(
    r"^\s*(?:[-*+\u2022\u2023\u2013]|\(?\d{1,2}[.):]|\(?[a-z][.)])\s+", re.IGNORECASE
)
_ENDED = re.compile(r"[.!`\"'*)\]}>]\s*$")
_EMPHASISED = re.compile(
    r"\*\*([^*\n]{3,200})\*\*|`([^`\n]{3,200})`|\"([^\"\n]{3,200})\"|__([^_\n]{3,200})__"
)
_ARTICLE = " (?:(the|an?|this|that) )?"
_MORE = re.compile(rf"(?:,|,? (?:and|or|then)){_ARTICLE}")
_BESIDE = "(?:next to|beside|near|adjacent to|alongside)"
_PUT = VERB_FORMS[0].__class__("put", "", PUT_BASE, "")
_SENTENCE = re.compile(r"[^.!?;\n]+[.!?;\n]*")
_CLAUSE = re.compile(
    "[,:()]| - | [\u2013\u2014] |" + r"\b(?:but|so|therefore|thus|then|hence|instead)\b"
)
# "To find out whether it is good, examine it" supposes nothing.
_EMBEDDED = re.compile(
    r"\b(know|knows|see|check|determine|find out|learn|verify|tell|sure|clear|unclear|unknown"
    r"|discover|decide|reveal|reveals|confirm|understand|identify|establish|information on) "
    r"(?:if|whether)\b"
)
_IF = re.compile(r"\b(?:if|unless|otherwise|in case|provided|assuming|suppose|whether|should it)\b")
_NEGATED = re.compile(
    r"\b(?:not|never|avoid|rather than|without|no need to|no reason to|before|after|until|once"
    r"|unless|when|while|fail\w*|unable|cannot|refuse|instead of|would have|task is to|asked to"
    r"|goal is to|the task|later|eventually|ultimately|finally)\b"
)
_POSSIBLE = re.compile(r"\b(?:could|might|may|can|possible|options?|consider|perhaps|maybe)\b")
_OTHER = re.compile(
    r"^\W{0,4}(?:reporter|observation|environment|user|human|feedback|report|result)\W{0,4}:",
    re.IGNORECASE | re.MULTILINE,
)
_STOP = re.compile(
    r"<\|(?:im_end|eot_id|end|endoftext|return|end_of_text|eom_id|user|observation)\|>|</s>"
    r"|<(?:eos|end_of_turn|eot|EOT)>|<\uff5cend\u2581of\u2581sentence\uff5c>|<\|im_start\|>",
    re.IGNORECASE,
)
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u00ad]")
_QUOTES = str.maketrans(
    dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"') | dict.fromkeys("\u2018\u2019", "'")
)


def _cleaned(text: str) -> str:
    """The text without what is no writing: invisible characters, entities, end-of-turn tokens."""
    text = _INVISIBLE.sub("", html.unescape(unicodedata.normalize("NFKC", text))).translate(_QUOTES)
    before, *_ = [part for part in _STOP.split(text) if part.strip()] or [""]
    return before.strip()


def _without_other_speakers(text: str) -> Iterator[str]:
    """The text before somebody else speaks in it, since models like to go on with the dialogue;
    then, where that says nothing, the text without the lines of others."""
    if other := _OTHER.search(text):
        yield text[: other.start()]
        yield "\n".join(line for line in text.splitlines() if not _OTHER.match(line))
    else:
        yield text


def _plain(text: str) -> str:
    """The text in lower case, in words: ``pick_up``, ``PickUp`` and ``pick-up`` as "pick up"."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    text = re.sub(r"(?<=[a-z])[_-](?=[a-z])", " ", re.sub(r"[*`#\"]", "", text))
    for pattern, words in _CONTRACTIONS:
        text = pattern.sub(words, text)
    return re.sub(r"[^\S\n]+", " ", text).strip()


_CONTRACTIONS = (
    (re.compile(r"\b(?:can't|cannot)\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\bpickup\b"), "pick up"),
    (re.compile(r"\bgoto\b"), "go to"),
    (re.compile(r"\bgray\b"), "grey"),
    (re.compile(r"\bcolou?red\b ?"), ""),
)


def _clause_start(sentence: str, position: int) -> int:
    """Where the clause begins in which a position lies."""
    return max((m.end() for m in _CLAUSE.finditer(sentence, 0, position)), default=0)
