# ruff: noqa: E501  (replies stand on one line, as they came)
"""Replies in the forms that today's models and servers give, and the command in each.

The dialogue is that of ``dialogue()``. ``None`` means that the reply holds no command.
"""

from __future__ import annotations

from typing import NamedTuple

from agents.dialogue import Dialogue
from agents.planner.replies import Reply
from agents.planner.reply_structures import ToolCall

TASK = (
    "If the solid red circle is good, pick up the striped blue ring, "
    "otherwise pick up the solid green cross."
)
E = "examine the solid red circle"
P = "pick up the striped blue ring"
G = "pick up the solid green cross"


def dialogue(verbs: tuple[str, ...] = ("go to", "examine", "pick up", "put")) -> Dialogue:
    return Dialogue(TASK, verbs)


class Recorded(NamedTuple):
    form: str
    reply: str | Reply
    command: str | None


def _call(name: str, arguments: str, text: str = "", thought: str = "") -> Reply:
    return Reply(text, thought, (ToolCall(name, arguments),))


ZOO = (
    # Plain
    Recorded("the sentence", "Examine the solid red circle.", E),
    Recorded("no capital, no period", "examine the solid red circle", E),
    Recorded("shouted", "EXAMINE THE SOLID RED CIRCLE!", E),
    Recorded("blank lines around", "\n\n  Examine the solid red circle.  \n\n", E),
    Recorded("list's dash", "- Examine the solid red circle.", E),
    Recorded("numbered", "1. Examine the solid red circle.", E),
    Recorded("speaker repeated", "Planner: Examine the solid red circle.", E),
    Recorded("in quotation marks", '"Examine the solid red circle."', E),
    Recorded("in typographic quotes", "\u201cExamine the solid red circle.\u201d", E),
    Recorded("in backticks", "`Examine the solid red circle.`", E),
    Recorded("in bold", "**Examine the solid red circle.**", E),
    Recorded("a heading", "### Examine the solid red circle", E),
    Recorded("a block quote", "> Examine the solid red circle.", E),
    Recorded("a code block", "```\nExamine the solid red circle.\n```", E),
    Recorded("a code block with a language", "```text\nExamine the solid red circle.\n```", E),
    Recorded("no-break spaces", "Examine\u00a0the\u00a0solid\u00a0red\u00a0circle.", E),
    Recorded("zero-width spaces", "\u200bExamine the solid\u200b red circle.\ufeff", E),
    Recorded("full-width letters", "\uff25xamine the solid red circle.", E),
    Recorded("end-of-turn token", "Examine the solid red circle.<|im_end|>", E),
    Recorded("end-of-sequence token", "Examine the solid red circle.</s>", E),
    Recorded("snake case", "examine_the_solid_red_circle", E),
    # Thoughts first
    Recorded("DeepSeek, Qwen 3", f"<think>\nFirst look.\n</think>\n\n{E}.", E),
    Recorded("empty thought", f"<think>\n\n</think>\n\n{E}", E),
    Recorded("opened by the template", f"I could {P}. No.\n</think>\n{E}", E),
    Recorded("never ended", f"<think>\nI should {E}.", None),
    Recorded("cut in the thought", Reply(f"<think>I should {E}", cut=True), None),
    Recorded("thought names another", f"<think>{P}? No: {G}.</think>{E}.", E),
    Recorded("nothing behind the thought", f"<think>{E}</think>", None),
    Recorded("Magistral", f"[THINK]Let me see: {P}.[/THINK]{E}.", E),
    Recorded("Kimi", f"\u25c1think\u25b7{P}\u25c1/think\u25b7{E}", E),
    Recorded("Seed", f"<seed:think>{P}</seed:think>{E}", E),
    Recorded("begin of thought", f"<|begin_of_thought|>{P}<|end_of_thought|>{E}", E),
    Recorded(
        "Command A",
        f"<|START_THINKING|>{P}<|END_THINKING|><|START_RESPONSE|>{E}.<|END_RESPONSE|>",
        E,
    ),
    Recorded(
        "gpt-oss",
        f"<|channel|>analysis<|message|>Should I {P}?<|end|><|start|>assistant<|channel|>final"
        f"<|message|>{E}.<|return|>",
        E,
    ),
    Recorded("gpt-oss, analysis only", f"<|channel|>analysis<|message|>I will {E}.", None),
    Recorded(
        "gpt-oss, a tool",
        "<|channel|>commentary to=functions.act <|constrain|>json<|message|>"
        '{"command": "Examine the solid red circle."}<|call|>',
        E,
    ),
    Recorded("two thoughts", f"<think>{P}</think>Hm.<think>{G}</think>\n{E}.", E),
    Recorded("other words for it", f"<reasoning>{P}</reasoning>\n<answer>{E}</answer>", E),
    Recorded("reasoning field", Reply(f"{E}.", thought=f"I could {P}."), E),
    Recorded("reasoning field only", Reply("", thought=f"{E}."), None),
    # A place of its own
    Recorded("answer tag", f"I weigh {P} against it.\n<answer>{E}.</answer>", E),
    Recorded("command tag", f"<command>\n{E}\n</command>", E),
    Recorded("action label", f"Thought: I must look first.\nAction: {E}", E),
    Recorded("bold label", f"I would look first.\n\n**Command:** {E}.", E),
    Recorded("label in bold with value", f"**Answer: {E}**", E),
    Recorded("final answer", f"One could {P}.\nFinal Answer: {E}.", E),
    Recorded("label, then the line", f"The next command is:\n\n{E}.", E),
    Recorded("boxed", rf"Therefore \boxed{{\text{{{E}}}}}", E),
    Recorded("in a sentence", f"The best command is to {E}.", E),
    Recorded("ReAct that goes on", f"Action: {E}\nObservation: good\nAction: {P}", E),
    Recorded("dialogue that goes on", f"{E}.\nReporter: I did.\nPlanner: {P}.", E),
    Recorded("two answers", f"<answer>{E}</answer><answer>{P}</answer>", None),
    # JSON and calls
    Recorded("JSON", '{"command": "Examine the solid red circle."}', E),
    Recorded("JSON in a block", '```json\n{"action": "examine the solid red circle"}\n```', E),
    Recorded("JSON with its reasons", f'{{"reasoning": "{P}", "command": "{E}"}}', E),
    Recorded("JSON in parts", '{"verb": "examine", "item": "solid red circle"}', E),
    Recorded("JSON in nested parts", '{"act": {"type": "pick_up", "object": "striped blue ring"}}', P),
    Recorded("JSON, verb as key", '{"examine": "the solid red circle"}', E),
    Recorded("a list of one", f'["{E}"]', E),
    Recorded("a list of two", f'["{E}", "{P}"]', None),
    Recorded("two keys, two commands", f'{{"command": "{E}", "answer": "{P}"}}', None),
    Recorded("single quotes", f"{{'command': '{E}'}}", E),
    Recorded("JSON with a comma too many", f'{{"command": "{E}",}}', E),
    Recorded("JSON behind words", f'Sure! Here it is: {{"command": "{E}"}} Good luck!', E),
    Recorded("tool call", _call("act", f'{{"command": "{E}"}}'), E),
    Recorded("tool call in parts", _call("pick_up", '{"item": "striped blue ring"}'), P),
    Recorded("tool call, CamelCase", _call("PickUp", '{"object": "striped blue ring"}'), P),
    Recorded("tool call with words", _call("act", f'{{"command": "{E}"}}', f"Then I can {P}."), E),
    Recorded("tool call of two items", _call("put", '{"item": "solid red circle", "target": "striped blue ring"}'), "put the solid red circle next to the striped blue ring"),
    Recorded("two tool calls", Reply(calls=(ToolCall("act", f'{{"c": "{E}"}}'), ToolCall("act", f'{{"c": "{P}"}}'))), None),
    Recorded("tool call without arguments", _call("act", "{}"), None),
    Recorded("tool call that is no JSON", _call("act", E), E),
    Recorded("Hermes", f'<tool_call>\n{{"name": "act", "arguments": {{"command": "{E}"}}}}\n</tool_call>', E),
    Recorded("Mistral", f'[TOOL_CALLS][{{"name": "act", "arguments": {{"command": "{E}"}}}}]', E),
    Recorded("arguments as text", f'{{"name": "act", "arguments": "{{\\"command\\": \\"{E}\\"}}"}}', E),
    Recorded("Llama, pythonic", '<|python_tag|>[pick_up(item="striped blue ring")]', P),
    Recorded("function call", "examine(solid red circle)", E),
    Recorded("function call, quoted", "pick_up('striped blue ring')", P),
    Recorded("Qwen coder", "<tool_call>\n<function=examine>\n<parameter=item>\nsolid red circle\n</parameter>\n</function>\n</tool_call>", E),
    Recorded("invoke", '<invoke name="act"><parameter name="command">Examine the solid red circle.</parameter></invoke>', E),
    # Prose
    Recorded("Sure!", "Sure! I would examine the solid red circle.", E),
    Recorded("with a reason", f"{E}, because we need to know whether it is good.", E),
    Recorded("reason first", "To find out whether the solid red circle is good, examine it first: examine the solid red circle.", E),
    Recorded("embedded question", "We do not know if it is good, so I'll examine the solid red circle.", E),
    Recorded("let's", "Let's examine the solid red circle first!", E),
    Recorded("instead of", "Instead of picking up the striped blue ring right away, examine the solid red circle.", E),
    Recorded("negated other", f"Do not {P} yet. Examine the solid red circle.", E),
    Recorded("the task said again", f"The task: if the solid red circle is good, {P}, otherwise {G}. I'll {E}.", E),
    Recorded("emphasis in prose", "I think you should **examine the solid red circle** now, since nothing is known.", E),
    Recorded("options, then the answer", f"Options:\n- {E}\n- {P}\n- {G}\n\n{E}.", E),
    Recorded("shortest name", "Examine the circle.", E),
    Recorded("short name", "Examine the red circle.", E),
    Recorded("another verb", "Inspect the solid red circle.", E),
    Recorded("explained below", f"{E}.\n\nIf it turns out good, I can {P} afterwards.", E),
    # No command
    Recorded("empty", "", None),
    Recorded("blank", " \n\t\n", None),
    Recorded("two in a sentence", f"{E} and then {P}.", None),
    Recorded("two sentences", f"{E}. {P}.", None),
    Recorded("two lines", f"{E}\n{P}", None),
    Recorded("a plan", f"1. {E}\n2. {P}", None),
    Recorded("either or", f"{P} or {G}.", None),
    Recorded("two items", f"{P} and the solid green cross.", None),
    Recorded("only negated", f"Do not {P}.", None),
    Recorded("a question", f"Should I {E}?", None),
    Recorded("only conditional", f"If the circle is good, {P}, otherwise {G}.", None),
    Recorded("refusal in words", "I'm sorry, but I can't help with that.", None),
    Recorded("refusal field", Reply(refusal="I cannot do that."), None),
    Recorded("unknown item", "Examine the purple elephant.", None),
    Recorded("unknown verb", "Dance with the solid red circle.", None),
    Recorded("verb of another Actor", "Open the red door.", None),
    Recorded("cut in the name", Reply("Pick up the striped blue", cut=True), None),
    Recorded("what was done", "I examined the solid red circle.", None),
)  # fmt: skip
