"""Any OpenAI-compatible server, whatever it answers."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from diskcache.core import MODE_PICKLE

from agents.planner.options import PlannerOptions
from agents.planner.registry import make_planner
from agents.planner.server import ServerPlanner
from envs.commands import Command
from envs.errors import BadInput
from tests.agents.tiny import dialogue

SAID = "Examine the solid red circle."
Answer = Callable[[dict], tuple[int, bytes]]


def message(text: str | None) -> tuple[int, bytes]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant"}}
    choice["message"]["content"] = text
    reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    return 200, json.dumps({**reply, "choices": [choice]}).encode()


class FakeServer:
    """A server on this machine that answers as a test tells it, and remembers what was asked."""

    def __init__(self) -> None:
        self.answer: Answer = lambda request: message(SAID)
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.at_once = self.most_at_once = 0
        lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    fake.requests.append(json.loads(body))
                    fake.keys.append(self.headers["Authorization"])
                    fake.at_once += 1
                    fake.most_at_once = max(fake.most_at_once, fake.at_once)
                status, reply = fake.answer(fake.requests[-1])
                with lock:
                    fake.at_once -= 1
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                # The client may not have wanted to wait.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(reply)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("agents.planner.server.client.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("agents.planner.server.client.LONGEST_WAIT_S", 0.02)
    fake = FakeServer()
    yield fake
    fake.http.shutdown()
    fake.http.server_close()


def planner(server: FakeServer, folder: Path, **options) -> ServerPlanner:
    made = make_planner(
        "openai:m", PlannerOptions(base_url=server.url, cache=folder, **{"retries": 2, **options})
    )
    assert isinstance(made, ServerPlanner)
    return made


def test_the_model_s_sentence_becomes_a_command(server, tmp_path):
    decision = planner(server, tmp_path).choose([dialogue()])[0]
    assert decision.utterance == SAID
    assert decision.command == Command.parse(SAID)
    assert decision.error is None
    (request,) = server.requests
    assert request["model"] == "m" and request["temperature"] == 0
    system, user = request["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert "You command an agent" in system["content"] and dialogue().task in user["content"]
    assert "Task:" not in system["content"]


def test_the_key_comes_from_the_environment_only(server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-7")
    server.answer = lambda request: (401, b'{"error": {"message": "secret-7 is wrong"}}')
    with pytest.raises(BadInput, match=r"refuses the key in OPENAI_API_KEY \(401\)") as error:
        planner(server, tmp_path).choose([dialogue()])
    assert server.keys == ["Bearer secret-7"]  # asked once: it would not get better
    assert "… is wrong" in str(error.value) and "secret-7" not in str(error.value)


def test_neither_key_nor_address_is_bad_input(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(BadInput, match="OPENAI_API_KEY"):
        make_planner("openai:m", PlannerOptions(cache=tmp_path))
    with pytest.raises(BadInput, match="names no model"):
        make_planner("openai:", PlannerOptions(cache=tmp_path))


def test_a_missing_extra_names_the_install_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(BadInput, match=r"pip install 'parley-rl\[api\]'"):
        make_planner("openai:m", PlannerOptions(base_url="http://127.0.0.1:9", cache=tmp_path))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_broken_server_is_asked_again(server, tmp_path, status):
    server.answer = lambda r: (status, b"{}") if len(server.requests) < 3 else message(SAID)
    decision = planner(server, tmp_path).choose([dialogue()])[0]
    assert decision.command == Command.parse(SAID)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "why", "asked"),
    [
        ((429, b"{}"), r"status 429 \(after 3 tries\)", 3),
        ((500, b"oops"), r"status 500 \(after 3 tries\)", 3),
        ((404, b"{}"), "no such model or address", 1),
        ((400, b"{}"), "status 400$", 1),
        ((200, b'{"choices": [{'), "malformed JSON", 1),
        ((200, b"<html>"), "malformed JSON|without a message", 1),
        ((200, b'"hello"'), "without a message", 1),
        ((200, b"{}"), "without a message", 1),
        ((200, b'{"choices": []}'), "without a message", 1),
        ((200, b'{"choices": [{"message": {"content": 5}}]}'), "without a message", 1),
    ],
)
def test_a_server_that_fails_makes_an_error_and_nothing_else(server, tmp_path, answer, why, asked):
    good = dialogue("Pick up the solid red circle.")
    server.answer = lambda r: (
        message("Pick up the solid red circle.") if f"Task: {good.task}" in str(r) else answer
    )
    bad, fine = planner(server, tmp_path).choose([dialogue(), good])
    assert isinstance(bad.error, BadInput) and bad.command is None
    with pytest.raises(BadInput, match=why) as caught:
        raise bad.error
    assert "\n" not in str(caught.value)
    assert fine.error is None and fine.command is not None
    assert len(server.requests) == asked + 1


@pytest.mark.parametrize(
    "text", ["", "I would rather not.", "Examine the red elephant.", "🙂" * 99]
)
def test_nonsense_is_no_command(server, tmp_path, text):
    server.answer = lambda request: message(text)
    decision = planner(server, tmp_path).choose([dialogue()])[0]
    assert (decision.command, decision.error) == (None, None)
    assert decision.utterance == text


def test_a_slow_server_is_given_up(server, tmp_path):
    server.answer = lambda request: (time.sleep(0.6), message(SAID))[1]
    start = time.monotonic()
    decision = planner(server, tmp_path, timeout=0.1, retries=1).choose([dialogue()])[0]
    assert "did not answer within 0.1 s (after 2 tries)" in str(decision.error)
    assert time.monotonic() - start < 3


def test_a_server_that_is_down_is_told(server, tmp_path):
    p = planner(server, tmp_path)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(BadInput, match=r"cannot be reached \(after 3 tries\)"):
        p.choose([dialogue()])


def test_a_server_that_goes_away_makes_errors_of_what_it_leaves(server, tmp_path):
    p = planner(server, tmp_path)
    assert p.choose([dialogue()])[0].error is None
    server.http.shutdown()
    server.http.server_close()
    (decision,) = p.choose([dialogue("Pick up the solid red circle.")])
    assert "cannot be reached" in str(decision.error)


def test_requests_run_side_by_side_and_come_back_in_order(server, tmp_path):
    tasks = [f"pick up the {c} ball" for c in ("red", "green", "blue", "grey")]

    def answer(request: dict) -> tuple[int, bytes]:
        k = next(k for k, t in enumerate(tasks) if t in request["messages"][-1]["content"])
        time.sleep(0.3 - 0.07 * k)
        return message(f"Pick up the {tasks[k].split()[3]} ball.")

    server.answer = answer
    decisions = planner(server, tmp_path).choose([dialogue(t) for t in tasks])
    assert [d.utterance.lower().rstrip(".") for d in decisions] == tasks
    assert server.most_at_once == 3  # the first finds out alone how to ask


def test_replies_are_cached_on_disk_without_pickle(server, tmp_path):
    first = planner(server, tmp_path).choose([dialogue()])[0]
    again = planner(server, tmp_path).choose([dialogue()])[0]
    assert first == again
    assert len(server.requests) == 1
    planner(server, tmp_path, max_new_tokens=7).choose([dialogue()])
    assert len(server.requests) == 2


class Planted:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path(os.environ["PLANTED"]),))


def test_a_pickle_planted_in_the_cache_is_not_loaded(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PLANTED", str(tmp_path / "planted"))
    planner(server, tmp_path).choose([dialogue()])
    with sqlite3.connect(tmp_path / "replies" / "cache.db") as db:
        n = db.execute(
            "UPDATE Cache SET mode = ?, value = ?", (MODE_PICKLE, pickle.dumps(Planted()))
        )
    assert n.rowcount == 1
    decision = planner(server, tmp_path).choose([dialogue()])[0]
    assert decision.command is not None
    assert len(server.requests) == 2
    assert not (tmp_path / "planted").exists()


def test_a_cache_that_fails_later_costs_no_reply(server, tmp_path, monkeypatch):
    p = planner(server, tmp_path)

    def full(*args: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(p.client._responses._cache, "set", full)
    monkeypatch.setattr(p.client._responses._cache, "get", full)
    assert p.choose([dialogue()])[0].command is not None


def test_failures_are_not_cached(server, tmp_path):
    server.answer = lambda request: (500, b"")
    planner(server, tmp_path).choose([dialogue()])
    server.answer = lambda request: message(SAID)
    assert planner(server, tmp_path).choose([dialogue()])[0].command is not None
