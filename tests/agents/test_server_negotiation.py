"""Servers as they are: what they refuse, what they ignore, and what they send."""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.planner.options import PlannerOptions
from agents.planner.registry import unused
from agents.planner.server.capabilities import Capabilities, adjusted
from envs.commands import Command
from envs.errors import BadInput, ContextOverflow
from tests.agents.test_planner_server import SAID, FakeServer, message, planner, server
from tests.agents.tiny import dialogue

__all__ = ["server"]  # a fixture
GOOD = Command.parse(SAID)


def refusal(text: str, parameter: str | None = None, status: int = 400) -> tuple[int, bytes]:
    return status, json.dumps({"error": {"message": text, "param": parameter}}).encode()


def refusing(name: str, answer: tuple[int, bytes]) -> Callable[[dict], tuple[int, bytes]]:
    return lambda request: answer if name in request else message(SAID)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("max_tokens", refusal("no", "max_tokens")),
        ("max_tokens", refusal("Unsupported parameter: 'max_tokens' is not supported; use "
                               "'max_completion_tokens' instead.")),
        ("max_tokens", (422, b'{"detail": [{"loc": ["body", "max_tokens"], "msg": "extra"}]}')),
        ("temperature", refusal("temperature does not support 0, only the default (1)")),
        ("temperature", refusal("only 1", "temperature")),
    ],
)  # fmt: skip
def test_what_a_server_refuses_is_left_out_from_then_on(server, tmp_path, name, answer):
    server.answer = refusing(name, answer)
    p = planner(server, tmp_path)
    for task in ("", "So. "):
        assert p.choose([dialogue(f"{task}{dialogue().task}")])[0].command == GOOD
    first, second, third = server.requests
    assert name in first and name not in second and name not in third
    if name == "max_tokens":
        assert third["max_completion_tokens"] == 40


def test_a_server_that_insists_on_its_temperature_gets_it(server, tmp_path):
    server.answer = lambda r: (
        message(SAID) if r.get("temperature") == 1 else refusal("only 1", "temperature")
    )
    assert planner(server, tmp_path).choose([dialogue()])[0].command == GOOD
    assert [r.get("temperature") for r in server.requests] == [0, None, 1]


def test_both_limits_may_be_refused(server, tmp_path, caplog):
    server.answer = lambda r: (
        refusal("unknown field", next(k for k in r if k.startswith("max_")))
        if any(k.startswith("max_") for k in r)
        else message(SAID)
    )
    with caplog.at_level(logging.WARNING):
        assert planner(server, tmp_path).choose([dialogue()])[0].command == GOOD
    assert "does not take the limit of tokens" in caplog.text


def test_an_option_without_effect_is_told(server, tmp_path, caplog):
    server.answer = refusing("temperature", refusal("only temperature 1"))
    with caplog.at_level(logging.WARNING):
        planner(server, tmp_path, temperature=0.7).choose([dialogue()])
    assert "does not take the temperature, which has no effect: only temperature 1" in caplog.text


def test_a_template_without_system_role_gets_one_message(server, tmp_path):
    server.answer = lambda r: (
        refusal("System role not supported")
        if r["messages"][0]["role"] == "system"
        else message(SAID)
    )
    assert planner(server, tmp_path).choose([dialogue()])[0].command == GOOD
    (whole,) = server.requests[-1]["messages"]
    assert "You command an agent" in whole["content"] and dialogue().task in whole["content"]


def test_the_effort_is_sent_where_it_is_wanted(server, tmp_path):
    planner(server, tmp_path).choose([dialogue()])
    assert "reasoning_effort" not in server.requests[-1]
    planner(server, tmp_path, effort="low").choose([dialogue()])
    assert server.requests[-1]["reasoning_effort"] == "low"


def test_thinking_is_room_for_the_reply(server, tmp_path):
    planner(server, tmp_path, think=500, max_new_tokens=20).choose([dialogue()])
    assert server.requests[-1]["max_tokens"] == 520


def test_the_server_s_own_reason_is_told(server, tmp_path):
    server.answer = lambda r: refusal("the prompt mentions elephants\nwhich are banned")
    (decision,) = planner(server, tmp_path).choose([dialogue()])
    assert str(decision.error).endswith("400: the prompt mentions elephants which are banned")
    assert len(server.requests) == 1


def test_a_dialogue_that_outgrows_the_model_is_an_overflow(server, tmp_path):
    server.answer = lambda r: refusal("This model's maximum context length is 512 tokens.")
    (decision,) = planner(server, tmp_path).choose([dialogue()])
    assert isinstance(decision.error, ContextOverflow)


def test_required_parts_are_never_left_out():
    sent = {"model": "m", "messages": [{"role": "user", "content": ""}], "max_tokens": 1}
    assert adjusted(Capabilities(), sent, "model 'm' does not exist", "model") is None
    assert adjusted(Capabilities(), sent, "messages too long", "messages") is None
    once = adjusted(Capabilities(), sent, "temperature must be 1", None)
    assert once is not None and once.temperature == "one"
    assert adjusted(once, {**sent, "temperature": 1}, "temperature", None) is None


# What a server sends


def completion(**choice) -> tuple[int, bytes]:
    fields = {"index": 0, "finish_reason": "stop", **choice}
    return 200, json.dumps({"model": "m", "choices": [fields]}).encode()


@pytest.mark.parametrize(
    "sent",
    [
        {"content": f"<think>{SAID}?</think>\n{SAID}"},
        {"content": SAID, "reasoning_content": "Pick up the checkered grey ring."},
        {"content": SAID, "reasoning": "Pick up the checkered grey ring."},
        {"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": SAID}]},
        {"content": None, "tool_calls": [
            {"function": {"name": "act", "arguments": json.dumps({"command": SAID})}}]},
        {"content": None, "tool_calls": [
            {"function": {"name": "examine", "arguments": {"item": "solid red circle"}}}]},
        {"content": "", "function_call": {"name": "act", "arguments": json.dumps({"c": SAID})}},
    ],
)  # fmt: skip
def test_wherever_the_command_stands_it_is_found(server, tmp_path, sent):
    server.answer = lambda r: completion(message={"role": "assistant", **sent})
    assert planner(server, tmp_path).choose([dialogue()])[0].command == GOOD


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"message": {"content": None}}, "is empty"),
        ({"message": {"content": "", "reasoning": "Hm."}, "finish_reason": "length"}, "cut off"),
        ({"message": {"content": None, "refusal": "I will not."}}, "refusal"),
        ({"message": {"content": ""}, "finish_reason": "content_filter"}, "refusal"),
        ({"message": {"content": None, "tool_calls": [{"function": None}, 5, {}]}}, "is empty"),
    ],
)
def test_a_reply_without_a_command_says_why(server, tmp_path, choice, problem):
    server.answer = lambda r: completion(**choice)
    (decision,) = planner(server, tmp_path).choose([dialogue()])
    assert (decision.command, decision.error) == (None, None) and problem in decision.problem


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"choices": [{"message": {"content": "\xff\xfe"}}]}', "no UTF-8"),
        (b"[" * 100_000, "malformed JSON"),
        (b"", "malformed JSON|without a message"),
        (b'{"error": {"message": "the model is still loading"}}', "the model is still loading"),
        (b'{"choices": [7]}', "without a message"),
        (b'{"choices": {"a": 1}}', "without a message"),
    ],
)
def test_a_body_that_is_no_reply_is_an_error(server, tmp_path, body, why):
    server.answer = lambda r: (200, body)
    (decision,) = planner(server, tmp_path, retries=0).choose([dialogue()])
    assert re.search(why, str(decision.error)) and "\n" not in str(decision.error)


def test_ten_megabytes_are_not_read(server, tmp_path):
    server.answer = lambda r: message("Hm. " * 2_500_000)
    (decision,) = planner(server, tmp_path, retries=3).choose([dialogue()])
    assert "did not stop" in str(decision.error) and "longer than" in str(decision.error)
    assert len(server.requests) == 1


def test_another_model_s_name_is_told_once(server, tmp_path, caplog):
    body = json.loads(message(SAID)[1]) | {"model": "somebody-else"}
    server.answer = lambda r: (200, json.dumps(body).encode())
    with caplog.at_level(logging.WARNING):
        p = planner(server, tmp_path)
        p.client.model = "my-model"
        p.choose([dialogue(), dialogue("Examine the solid red circle.")])
    assert caplog.text.count("answers as 'somebody-else'") == 1


@pytest.mark.parametrize("drip", [b" ", b""])
def test_a_server_without_an_end_or_that_hangs_up_is_given_up(tmp_path, monkeypatch, drip):
    """One that sends a space now and then for ever, and one that closes in mid-reply."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    listener = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                connection.sendall(head + b"Content-Length: 1000000\r\n\r\n{")
                try:
                    while drip and not is_over.wait(0.02):
                        connection.sendall(drip)
                except OSError:
                    pass

    threading.Thread(target=serve, daemon=True).start()
    fake = FakeServer()
    fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    started = time.monotonic()
    try:
        (decision,) = planner(fake, tmp_path, timeout=0.4, retries=0).choose([dialogue()])
        why = str(decision.error)
    except BadInput as error:
        why = str(error)
    is_over.set()
    listener.close()
    fake.http.shutdown()
    fake.http.server_close()
    assert time.monotonic() - started < 5
    assert "did not answer within" in why if drip else "cannot be reached" in why


# Choices


def obeying(way: str) -> Callable[[dict], tuple[int, bytes]]:
    """A server that keeps to one kind of constraint, and ignores or refuses the others."""

    def answer(request: dict) -> tuple[int, bytes]:
        if "regex" in request:
            return refusal("unexpected field", "regex")
        if way == "response_format" and way in request:
            schema = request[way]["json_schema"]["schema"]["properties"]["command"]
            return message(json.dumps({"command": schema["enum"][0]}))
        if way == "structured_outputs" and way in request:
            return message(request[way]["choice"][0])
        if way == "grammar" and way in request:
            return message(re.findall(r'"(.*?)"', request[way])[0])
        return message("Pick up the checkered grey ring.")

    return answer


@pytest.mark.parametrize("way", ["response_format", "structured_outputs", "grammar"])
def test_a_constraint_that_works_is_found_and_used(server, tmp_path, caplog, way):
    server.answer = obeying(way)
    with caplog.at_level(logging.WARNING):
        (decision,) = planner(server, tmp_path, choice="server").choose([dialogue()])
    assert decision.command == dialogue().candidates()[0]
    assert ("ignores response_format" in caplog.text) == (way != "response_format")
    n = len(server.requests)
    assert way in server.requests[-1]
    planner(server, tmp_path, choice="server").choose([dialogue()])
    assert len(server.requests) == n  # the probe and the reply come from the cache


def test_a_server_that_ignores_every_constraint_is_told_before_any_episode(server, tmp_path):
    server.answer = obeying("nothing")
    with pytest.raises(BadInput, match="cannot be held to a choice") as error:
        planner(server, tmp_path, choice="server").choose([dialogue()])
    for said in ("ignores guided_choice", "refuses regex", "--choice text"):
        assert said in str(error.value)


def test_replies_of_another_choice_do_not_come_from_the_cache(server, tmp_path):
    planner(server, tmp_path).choose([dialogue()])
    server.answer = obeying("response_format")
    (decision,) = planner(server, tmp_path, choice="server").choose([dialogue()])
    assert decision.command == dialogue().candidates()[0] != GOOD
    (decision,) = planner(server, tmp_path).choose([dialogue()])
    assert decision.command == GOOD


def test_a_server_that_cannot_score_is_told(server, tmp_path):
    with pytest.raises(BadInput, match="cannot score commands") as error:
        planner(server, tmp_path, choice="score").choose([dialogue()])
    assert "--choice server or text" in str(error.value)


def test_an_echoing_server_scores_by_mean_log_probability(server, tmp_path):
    def answer(request: dict) -> tuple[int, bytes]:
        if "prompt" not in request:
            return message(SAID)
        text = request["prompt"]
        words = [(m.start(), m[0]) for m in re.finditer(r"\s*\S+", text)]
        # "ring" is likely; every other word is not, so that the mean decides, not the length.
        logp = [None, *(-0.1 if "ring" in w or "grey" in w else -2.0 for _, w in words[1:])]
        listed = {"text_offset": [at for at, _ in words], "token_logprobs": logp}
        return 200, json.dumps({"choices": [{"text": text, "logprobs": listed}]}).encode()

    server.answer = answer
    (decision,) = planner(server, tmp_path, choice="score", examples=0, processors="none").choose(
        [dialogue()]
    )
    ring = "Pick up the checkered grey ring."
    assert decision.scores[ring] == pytest.approx((4 * -2.0 + 2 * -0.1) / 6)
    assert decision.utterance == max(decision.scores, key=decision.scores.__getitem__)


def test_options_of_servers_are_refused_elsewhere():
    assert {"choice", "effort"} <= unused("smollm2-135m", "score").keys()
    assert "chat" in unused("openai:m", "score")
    with pytest.raises(BadInput, match="unknown choice 'guided'"):
        PlannerOptions(choice="guided")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="unknown effort 'lots'"):
        PlannerOptions(effort="lots")  # type: ignore[arg-type]


def test_a_planner_on_a_server_needs_neither_torch_nor_transformers():
    code = "import sys, agents.planner.server; print({'torch', 'transformers'} & {*sys.modules})"
    python = [sys.executable, "-c", code]
    assert subprocess.run(python, capture_output=True, text=True).stdout.strip() == "set()"


def test_another_folder_is_another_cache(server, tmp_path: Path):
    planner(server, tmp_path / "a").choose([dialogue()])
    planner(server, tmp_path / "b").choose([dialogue()])
    assert len(server.requests) == 2
