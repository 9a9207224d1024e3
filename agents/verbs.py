"""The words that people and language models have for the verbs of commands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VerbForms:
    """How a command's verb is said, as patterns: as what happened, in the infinitive, and as a
    gerund."""

    name: str
    past: str
    base: str
    gerund: str


_LOOK = r"(?:a|an?other) (?:\w+ ){0,2}look at"
_CLOSELY = "(?:(?:closely|carefully) )?"
VERB_FORMS = (
    VerbForms(
        "examine",
        f"examined|inspected|looked {_CLOSELY}at|looked over|checked(?: out)?|studied|investigated"
        f"|(?:took|had|taken) {_LOOK}|scrutini[sz]ed",
        f"examine|inspect|look {_CLOSELY}at|look over|check(?: out)?|study|investigate"
        f"|(?:take|have|get) {_LOOK}|scrutini[sz]e",
        f"examining|inspecting|looking {_CLOSELY}at|checking(?: out)?|studying|investigating"
        f"|(?:taking|having) {_LOOK}",
    ),
    VerbForms(
        "pick up",
        "picked up|grabbed|took|taken|collected|lifted(?: up)?|fetched|retrieved|got(?: hold of)?"
        "|obtained|acquired|seized|scooped up|gathered|secured",
        "pick up|grab|take|collect|lift(?: up)?|fetch|retrieve|get(?: hold of)?|obtain|acquire"
        "|seize|scoop up|carry",
        "picking up|grabbing|taking|collecting|lifting|fetching|retrieving|getting hold of",
    ),
    VerbForms(
        "go to",
        "went (?:over |up )?to|gone to|reached|got to|arrived at|walked (?:over |up )?to|moved to"
        "|approached|made it to|came to|travell?ed to",
        "go (?:over |up )?to|reach|get to|arrive at|walk (?:over |up )?to|move to|approach"
        "|make it to|come to|find|locate|get near",
        "going to|reaching|getting to|walking to|moving to|approaching",
    ),
    VerbForms("open", "opened(?: up)?", "open(?: up)?|budge", "opening"),
)
PUT_PAST, PUT_BASE = "put|placed|dropped|set", "put|place|drop|set"
