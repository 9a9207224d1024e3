"""Grounding: the one place that reads English reports, and turns free text into facts.

It serves where nothing but text exists: a vision-language model, the learned Reporter, a person, a
user's Reporter that returns plain strings, stored episodes. A report that carries its facts is
never read here.

The reader is a set of patterns over clauses, not a model. It is tolerant in wording and strict in
what counts as an assertion: what is asked, commanded, quoted, planned, possible or hypothetical
yields nothing, so that an instruction in a report is never taken for a deed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from agents.messages import Fact, Report
from agents.verbs import PUT_BASE, PUT_PAST, VERB_FORMS
from envs.attributes import (
    BESIDE_WALL,
    CARRIED,
    FLOOR,
    HALF,
    IN_CORNER,
    IN_MIDDLE,
    LOCKED,
    MARK,
    NEXT_TO,
    OPEN,
    SECRET_PROPERTY,
)
from envs.commands import Command
from envs.items import (
    ANY_SHAPE,
    COLOURS,
    MINIGRID_SHAPES,
    SHAPES,
    TEXTURES,
    Item,
    find_items,
    item_spans,
)
from envs.objects import MARKS
from envs.phrasings import PROPERTY_WORDS

LONGEST = 20_000  # characters of a report that are read

# In the text that the patterns see, each item's name is one character of Unicode's private area.
_FIRST, _LAST = 0xE000, 0xF8FF
_ITEM = f"[{chr(_FIRST)}-{chr(_LAST)}]"
_THE = "(?:(?:the|an?|this|that|my|its|your|another) )?"
_ADVERB = r"(?: (?:\w+ly|just|now|also|indeed|already|then|once|yet|still|even))?"
_OBJECT = rf"{_ADVERB} (?:{_THE}({_ITEM})|(it|that one|this one|that|this|them))"
_WALL = "(?:beside|next to|against|by|along|near|touching|adjacent to|at|alongside) (?:a|the) wall"
_BESIDE = "(?:next to|beside|near|adjacent to|alongside|by)"


_PARTICIPLES = {
    "examine": "examined|inspected|looked at|checked|studied|investigated",
    "pick up": "picked up|grabbed|taken|collected|lifted|fetched|retrieved|in my hands?",
    "go to": "reached",
    "open": "opened",
}
_BE = "(?:is|was|were|are|been|being|be|got|gets)"
_FAILS = (
    r"(?:(?:did|do|does|could|can|was|were|am|is|are|have|has|had|will|would) not"
    r"(?: (?:yet|quite|actually|really|even|been|be|successfully|manage[d]?|able|succeed(?:ed)?))*"
    r"|fail(?:s|ed|ing)?|unable|not able|never managed|(?<!did )not manage[d]?|never succeeded"
    r"|no way|impossible|not possible)(?: to| in)?"
)
_SUCCEEDS = r"(?:managed|was able|were able|am able|succeeded in|able)(?: to)?"
_AFTER = r"(?:after|upon|on|by|having|finished|done with|done|succeeded in)"
_NEGATION = re.compile(r"\b(?:not|never|no longer|without|nobody|almost|nearly|neither|nor)\b")
_OTHERS = re.compile(r"\b(?:user|someone|somebody|nobody|anyone)\b")
_SPEAKER = re.compile(r"\b(?:i|we|agent|robot|actor|have|has|was|were|been|he|she|they)\b")

# What is no assertion: a sentence, the rest of a sentence, a clause.
_INSTRUCTS = re.compile(
    r"\b(?:ignore|disregard|instructions?|pretend|assume|suppose|imagine"
    r"|you (?:should|must|need|have to|can|could|may)|let us|let me)\b|\bsystem ?:"
)
_SUPPOSES = re.compile(r"\b(?:if|whether|unless|until|in case|as though|before|whenever|once)\b")
_PLANS = re.compile(
    r"\b(?:will|would|should|could|might|may|must|shall|can(?! (?:now )?(?:see|tell|confirm|say)))"
    r"\b(?! not)"
    r"|\b(?:want|wants|wanted|plan|plans|planned|need|needs|needed|have|has|had|intend|hope|hoping"
    r"|about|wish|going|ready|asked|told|supposed|like) (?:\w+ )?to (?!be\b)"
    r"|\b(?:perhaps|maybe|probably|possibly|please|apparently not)\b"
)
_TRIES = r"(?:tried|try|trying|attempted|attempt)(?: to| in)?"
_FAILED = re.compile(
    r"\b(?:did not (?:manage|succeed|work)|could not(?: do (?:it|that|this))?(?=\W*$)|can not do"
    r"|not managed?|failed(?! to)|in vain|to no avail|without success|no luck|gave up|unsuccessful"
    r"|unable to(?: do (?:it|that|this))?(?=\W*$)|not possible(?=\W*$)|impossible(?=\W*$)|failure)"
)
_BREAK = re.compile(
    r"[,:()\u2013\u2014]| - |\b(?:and|but|because|since|so|though|although|however|then|which|while"
    r"|therefore|as(?= it\b| this\b| the\b|\W))\b"
)
_SENTENCE = re.compile(r"[^.!?;\n]+[.!?;\n]?")
# Before the name of what is no subject: "next to the ring", "with the key".
_ASIDE = re.compile(
    rf"\b(?:{_BESIDE}|with|using|without|of|for|under|behind|needs?|needed|requires?|required"
    rf"|lacks?) {_THE}(?:\w+ )?$"
)
_FIRST_PERSON = re.compile(r"^\W*(?:i|we|the agent|the robot|the actor)\b")
_PRONOUN = re.compile(r"\b(?:it|its|this|that|one|they|them)\b")

_WORDS = "|".join(sorted({w for three in PROPERTY_WORDS.values() for w in three}))
_COLOUR = "|".join(dict.fromkeys((*COLOURS, *filter(None, MARKS))))
_VERDICT = (
    r"(?:is|was|seems?|seemed|looks?|looked|appears?|appeared|turned out|turns out|proved|proves|be"
    rf"|being|been|called|property|found {_THE}(?:{_ITEM}|it|this|that)|as)"
    r"(?: (?:to be|to have been|indeed|really|not|no longer|never|an?|the|in fact|actually|quite"
    r"|very|just|only|rather|also|now|still|definitely|clearly|certainly))*"
)
# (predicate, pattern of the rest of a clause behind the subject; a group is the value)
_STATES = tuple(
    (predicate, re.compile(pattern))
    for predicate, pattern in (
        (SECRET_PROPERTY,
         r"\b(?:secret )?property (?:(?:of it )?(?:is|was)|named|called|of)? ?(\w+)"),
        (SECRET_PROPERTY, rf"\b{_VERDICT} ({_WORDS})(?: (?:one|thing|item|object))?"
         r"(?: (?:after all|indeed|now|though|too|as well|alright))?\W*$"),
        (FLOOR, rf"\b({'|'.join(COLOURS)})(?:-colou?red)? (?:floor|ground|tile|carpet)"),
        (FLOOR, rf"\b(?:floor|ground|tile|carpet)(?: \w+){{0,2}}(?: (?:it|{_ITEM}))? "
         rf"(?:is|was|looks|looked) ({'|'.join(COLOURS)})\b"),
        (MARK, rf"\b({_COLOUR}) marks?\b"),
        (MARK, rf"\bmarks?(?: on (?:it|{_THE}{_ITEM}))? (?:is|was|turned out|looks) ({_COLOUR})\b"),
        (MARK, rf"\bmarked (?:in )?({_COLOUR})\b"),
        (BESIDE_WALL, rf"\b{_WALL}\b"),
        (IN_CORNER, r"\b(?:in|at) (?:a|the|one) corner\b"),
        (HALF, r"\bin the (upper|lower|top|bottom) half\b"),
        (IN_MIDDLE, r"\bin the (?:middle|centre)\b"),
        (NEXT_TO, rf"\b{_BESIDE} {_THE}({_ITEM})"),
        (LOCKED, r"\blocked\b"),
        (OPEN, rf"\b{_BE}(?: \w+)? (?:open|closed|shut)\b"),
    )
)  # fmt: skip
_UNLOCKED = re.compile(rf"\bunlocked\b(?: {_THE}({_ITEM}))?")
_LOCKED_ITEM = re.compile(rf"\b(?:an?|the|this|that|another) (un)?locked ({_ITEM})")
_NEEDS_KEY = re.compile(rf"\b(?:needs?|needed|requires?|required) (?:\w+ )?({_ITEM})")
_KEY_NEEDED = re.compile(rf"({_ITEM}) (?:is|was) (?:needed|required|necessary|missing)")
_CARRIES = re.compile(
    rf"\b(?:(?:am|is|are|was)(?: now)? (?:holding|carrying)|hold|carry|now have){_OBJECT}"
)
_SYNONYMS = {"top": "upper", "bottom": "lower"}


def ground(text: str, command: Command | None = None) -> Report:
    """A report's text with the facts, deeds and failures that it asserts.

    ``command`` is what the report answers: "it" means its item where the text has named none, and
    "the ring" or "the red ring" may be short for the command's "solid red ring". Any text will do;
    of one beyond ``LONGEST`` characters only the beginning is read.
    """
    reader = _Reader(command)
    reader.read(text[:LONGEST])
    return Report(
        text,
        tuple(dict.fromkeys(reader.facts)),
        tuple(dict.fromkeys(reader.done)),
        tuple(dict.fromkeys(reader.not_managed)),
    )


def as_report(report: Report | str, command: Command | None = None) -> Report:
    """A Reporter's report as it is, or a plain string `ground`-ed."""
    return report if isinstance(report, Report) else ground(report, command)


def named_items(*texts: str) -> tuple[Item, ...]:
    """The items that these texts name, each once, in order of first mention."""
    return find_items("\n".join(texts))


@dataclass
class _Reader:
    """The state of one reading. ``topic`` is what "it" means, ``deed`` what was last stated to be
    done (True) or not managed (False), for lists of items."""

    command: Command | None
    facts: list[Fact] = field(default_factory=list)
    done: list[Command] = field(default_factory=list)
    not_managed: list[Command] = field(default_factory=list)
    topic: Item | None = None
    items: dict[str, Item] = field(default_factory=dict)
    attempt: Command | None = None
    deed: tuple[str, bool] | None = None

    def read(self, text: str) -> None:
        if self.command is not None:
            self.topic = self.command.item
        for match in _SENTENCE.finditer(self._with_items(_plain(text))):
            sentence = match.group()
            if sentence.endswith("?") or _INSTRUCTS.search(sentence):
                self._mention(sentence)
                continue
            self._sentence(sentence.rstrip(".!;\n"))

    def _with_items(self, text: str) -> str:
        """The text with one character in place of each item's name."""
        parts: list[str] = []
        codes: dict[Item, str] = {}
        end = 0
        for named, start, stop in item_spans(text):
            bare = named.colour is None and named.texture is None
            if bare and named.shape in SHAPES and not text[:start].endswith(_DEFINITE):
                continue
            item = self._resolved(named)
            if item not in codes:
                codes[item] = chr(_FIRST + len(codes))
                self.items[codes[item]] = item
            parts += [text[end:start], codes[item]]
            end = stop
        return "".join([*parts, text[end:]])

    def _resolved(self, name: Item) -> Item:
        """The item that a name is short for: the command's, or one named before."""
        candidates = [*self.items.values()][::-1]
        if self.command is not None:
            candidates = [
                i for i in (self.command.item, self.command.target) if i is not None
            ] + candidates
        for item in candidates:
            if name.describes(item) and name.place in (None, item.place):
                return item
        return name

    def _mention(self, clause: str) -> None:
        """Let "it" mean what a clause is about."""
        for k, char in enumerate(clause):
            if char in self.items and not _ASIDE.search(clause[:k]):
                self.topic = self.items[char]
                return

    def _sentence(self, sentence: str) -> None:
        if supposition := _SUPPOSES.search(sentence):
            self._sentence(sentence[: supposition.start()])
            self._mention(sentence[supposition.end() :])
            return
        self.attempt, self.deed = None, None
        n_done, n_not = len(self.done), len(self.not_managed)
        for clause in _BREAK.split(sentence):
            if clause.strip():
                self._clause(f" {clause.strip()} ")
        if self.attempt is not None and re.search(r"\bbut\b|\bhowever\b", sentence):
            self._add(self.attempt, False)
        if (
            _FAILED.search(sentence)
            and self.command is not None
            and (n_done, n_not) == (len(self.done), len(self.not_managed))
        ):
            self.not_managed.append(self.attempt or self.command)

    def _clause(self, clause: str) -> None:
        if self.deed is not None and (alone := re.fullmatch(rf"\W*{_THE}({_ITEM})\W*", clause)):
            verb, was_done = self.deed
            self._add(Command(verb, self.items[alone[1]]), was_done)
            return
        failed = self._failures(clause)
        if not failed and not _PLANS.search(clause):
            if not re.search(rf"\b{_TRIES}\b", clause) or not self._attempts(clause):
                self._deeds(clause)
            self._states(clause)
        elif failed:
            self._states(clause)
        self._mention(clause)

    def _add(self, command: Command, was_done: bool) -> None:
        (self.done if was_done else self.not_managed).append(command)
        if command.target is None:
            self.deed = command.verb, was_done

    def _object(self, item: str | None) -> Item | None:
        """The item that a character stands for, or what "it" means."""
        return self.topic if item is None else self.items.get(item)

    def _commands(self, clause: str, lead: str, form: str) -> Iterator[tuple[int, Command]]:
        """The commands that a clause names behind ``lead``, with where they end."""
        for verb in VERB_FORMS:
            words = getattr(verb, form)
            for m in re.finditer(rf"\b{lead}{_ADVERB} ?(?:{words}){_OBJECT}", clause):
                if item := self._object(m[1]):
                    yield m.end(), Command(verb.name, item)
            if verb.name == "pick up":
                word = "picked" if form == "past" else "pick"
                for m in re.finditer(rf"\b{lead}{_ADVERB} ?{word}{_OBJECT} up\b", clause):
                    if item := self._object(m[1]):
                        yield m.end(), Command(verb.name, item)
        put = PUT_PAST if form == "past" else PUT_BASE
        pattern = rf"\b{lead}{_ADVERB} ?(?:{put}){_OBJECT}(?: down)? {_BESIDE} {_THE}({_ITEM})"
        for m in re.finditer(pattern, clause):
            item, target = self._object(m[1]), self.items.get(m[3])
            # "put" is also an imperative; what follows a deed in a list is not.
            stated = lead or self.deed or _SPEAKER.search(clause[: m.start()])
            if item and target and stated:
                yield m.end(), Command("put", item, target)

    def _failures(self, clause: str) -> bool:
        has_failure = False
        for form in ("base", "gerund", "past"):
            for _, command in self._commands(clause, f"{_FAILS} ?", form):
                self._add(command, False)
                has_failure = True
        for m in re.finditer(
            rf"(?:{_THE}({_ITEM})|\bit\b) (?:will|would|does|did|could|can) not (?:open|budge)",
            clause,
        ):
            if item := self._object(m[1]):
                self._add(Command("open", item), False)
                has_failure = True
        return has_failure

    def _attempts(self, clause: str) -> bool:
        """Note what was tried: it failed only if the sentence goes on to say so."""
        for form in ("base", "gerund"):
            for _, command in self._commands(clause, f"{_TRIES} ?", form):
                self.attempt = command
        return self.attempt is not None

    def _deeds(self, clause: str) -> None:
        leads = (("", "past"), (f"{_SUCCEEDS} ", "base"), (f"{_AFTER} ", "gerund"))
        for lead, form in leads:
            for end, command in self._commands(clause, lead, form):
                before = clause[:end]
                if not _OTHERS.search(before):
                    if not _NEGATION.search(before):
                        self._add(command, True)
                    elif not re.search(r"almost|nearly|nobody", before):
                        self._add(command, False)
        for verb, words in _PARTICIPLES.items():
            pattern = (
                rf"(?:({_ITEM})|\b(?:it|this|that)\b) (?:has |have |had )?{_BE}"
                rf"((?: \w+){{0,2}}?) (?:{words})\b"
            )
            for m in re.finditer(pattern, clause):
                if item := self._object(m[1]):
                    self._add(Command(verb, item), not _NEGATION.search(m[0]))
        for m in _CARRIES.finditer(clause):
            if item := self._object(m[1]):
                holds = not _NEGATION.search(clause[: m.end()])
                self.facts.append(Fact(item, CARRIED, "", holds))

    def _states(self, clause: str) -> None:
        for m in _LOCKED_ITEM.finditer(clause):
            self.facts.append(Fact(self.items[m[2]], LOCKED, "", not m[1]))
        for m in _UNLOCKED.finditer(clause):
            item = self.items.get(m[1] or "") or self._subject(clause, m.start())
            if item is not None and not _LOCKED_ITEM.search(clause):
                negated = _NEGATION.search(clause[: m.start()])
                self.facts.append(Fact(item, LOCKED, "", bool(negated)))
        for pattern in (_NEEDS_KEY, _KEY_NEEDED):
            for m in pattern.finditer(clause):
                if self.items[m[1]].shape == "key" and not _NEGATION.search(clause[: m.end()]):
                    doors = [i for c in clause if (i := self.items.get(c)) and i.shape == "door"]
                    doors += [self.topic] if self.topic and self.topic.shape == "door" else []
                    self.facts += [Fact(door, LOCKED) for door in doors[:1]]
        stated: list[tuple[int, Fact]] = []
        for predicate, state in _STATES:
            for m in state.finditer(clause):
                fact = self._state(clause, predicate, m)
                if fact is not None and fact not in [f for _, f in stated]:
                    stated.append((m.start(), fact))
        self.facts += [fact for _, fact in sorted(stated, key=lambda s: s[0])]

    def _state(self, clause: str, predicate: str, m: re.Match[str]) -> Fact | None:
        if predicate == LOCKED and _LOCKED_ITEM.search(clause):
            return None
        loose = predicate == MARK  # "I see a white mark" is about the item at hand
        # "found it good": the subject may stand within the match.
        position = m.start(1) if predicate == SECRET_PROPERTY else m.start()
        item = self._subject(clause, position, loose)
        if item is None:
            return None
        value = m[1] if m.re.groups else ""
        if predicate == NEXT_TO:
            if re.search(rf"\b(?:{PUT_PAST}|{PUT_BASE})\b", clause[: m.start()]):
                return None
            value = str(self.items[value])
        after = max((clause.rfind(c, 0, m.start()) for c in self.items), default=-1) + 1
        holds = not _NEGATION.search(clause[after : m.end()])
        if predicate == OPEN:
            holds = holds == m[0].endswith("open")
        return Fact(item, predicate, _SYNONYMS.get(value, value), holds)

    def _subject(self, clause: str, position: int, loose: bool = False) -> Item | None:
        """What is spoken of at a position: the last item named before it in the clause, else what
        "it" means; nothing where the speaker tells of itself."""
        for k in range(position - 1, -1, -1):
            if clause[k] in self.items and not _ASIDE.search(clause[:k]):
                return self.items[clause[k]]
        before = clause[:position]
        if not loose and _FIRST_PERSON.search(before) and not _PRONOUN.search(before):
            return None
        return self.topic


_DEFINITE = ("the ", "this ", "that ")
_CONTRACTIONS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"[\u2018\u2019\u02bc`]", "'"),
        (r"[\ue000-\uf8ff]", " "),
        # Somebody else's words: a quotation of more than two words.
        (r"[\u201c\u201d\u201e\u00ab\u00bb]", '"'),
        (r"\"[^\"\n ]* [^\"\n ]* [^\"\n]*\"", " "),
        (r"\"", ""),
        (r"\b(?:can't|cannot|cant)\b", "can not"),
        (r"\bwo(?:n't|nt)\b", "will not"),
        (r"n't\b", " not"),
        (r"\b(did|could|is|was|does|would|has|have|had|are|were|do)nt\b", r"\1 not"),
        (r"'ve\b", " have"),
        (r"'m\b", " am"),
        (r"'re\b", " are"),
        (r"'ll\b", " will"),
        (r"'d\b", " would"),
        (r"'s(?= (?:secret |own )?(?:property|mark|floor|lock)\b)", ""),
        (r"'s\b", " is"),
        (r"\bgray\b", "grey"),
        (r"\bcenter\b", "centre"),
        (r"\bproperty(?: value)? ?[:=] ?", "property "),
        (r"\bdo so\b", "do it"),
        (rf"\b({'|'.join((*SHAPES, *MINIGRID_SHAPES, ANY_SHAPE))}) "
         rf"\((?:the )?((?:(?:{'|'.join(TEXTURES)}) )?(?:{'|'.join(COLOURS)}))(?: one)?\)",
         r"\2 \1"),
        (r"[^\S\n]+", " "),
    )
)  # fmt: skip


def _plain(text: str) -> str:
    """The text in lower case, without contractions, quotations and doubled spaces."""
    text = text.lower()
    for pattern, words in _CONTRACTIONS:
        text = pattern.sub(words, text)
    return text
