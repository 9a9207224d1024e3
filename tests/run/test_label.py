"""``label``: the file of answers, the page in a real browser, and who may ask for it."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from envs.errors import BadInput
from rewards.success_vqa.labels import read_labels
from run.__main__ import main
from run.clips.annotation import AnnotationSession, draw_label_questions
from tests.run.command import start


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    clips = folder / "clips"
    made = ["make-clips", "--test-clips", "24", "--splits", "test1", "--out", str(clips)]
    assert main([*made, "--runs-dir", str(folder / "runs")]) == 0
    return clips


def session(data: Path, file: Path, by: str = "anna") -> AnnotationSession:
    return AnnotationSession("test1", draw_label_questions(data, "test1", 6), file, by)


def test_whoever_labels_with_the_same_seed_is_asked_the_same(data: Path) -> None:
    def drawn(n: int, seed: int = 0) -> list[tuple[int, str]]:
        return [(q.place, q.text) for q in draw_label_questions(data, "test1", n, seed)]

    assert drawn(6) == drawn(24)[:6]
    assert drawn(6) != drawn(6, seed=1)
    assert sorted(k for k, _ in drawn(0)) == list(range(24))


def test_answers_are_kept_and_taken_up_again(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels" / "a.jsonl"
    first = session(data, file)
    first.record(0, "yes", 2, 1.26)
    first.record(1, "skip", 0, 2.0)
    with file.open("a") as out:
        out.write('{"parley_labels": 1, "split": "te')  # as a kill may leave it
    again = session(data, file)
    assert again.first_open() == 2
    again.record(0, "no", 0, 3.0)
    for k in range(2, 6):
        again.record(k, "no", 0, 1.0)
    assert session(data, file).first_open() == 6
    labels = read_labels(file)
    assert [a.answer for a in labels] == ["no", "skip", "no", "no", "no", "no"]
    assert labels[0].by == "anna" and labels[0].seconds == 3.0 and labels[0].at.endswith("+00:00")
    assert len(file.read_text().splitlines()) == 7
    with pytest.raises(BadInput, match="has answers of 'anna'"):
        session(data, file, "ben")


def test_answers_to_other_clips_are_not_taken_up(data: Path, tmp_path: Path) -> None:
    first = session(data, tmp_path / "a.jsonl")
    first.record(0, "yes", 0, 1.0)
    line = json.loads((tmp_path / "a.jsonl").read_text())
    (tmp_path / "a.jsonl").write_text(json.dumps(line | {"seed": 1}) + "\n")
    with pytest.raises(BadInput, match="has answers to other clips"):
        session(data, tmp_path / "a.jsonl")


def test_two_people_are_compared(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"{who}.jsonl" for who in ("anna", "ben")]
    for who, file, answers in zip(("anna", "ben"), files, ("yynnyn", "yynnnn"), strict=True):
        answering = session(data, file, who)
        for k, answer in enumerate(answers):
            answering.record(k, {"y": "yes", "n": "no"}[answer], 0, 1.0)
    both = tmp_path / "both.jsonl"
    assert main(["label", "--compare", *map(str, files), "--export", str(both)]) == 0
    out = capsys.readouterr().out
    assert "83%" in out and "0.67" in out and "differ: test1, clip" in out
    assert [a.answer for a in read_labels(both)] == ["yes", "yes", "no", "no", "no"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--by must name who answers"),
        (["--by", "../x"], "--by must name who answers"),
        (["--by", "anna", "--data", "nowhere"], "no split 'test1' in 'nowhere'"),
        (["--by", "anna", "--port", "70000"], "--port must be at most 65535"),
        (["--export", "x"], "--export goes with --compare"),
        (["--compare", "nowhere"], "--compare needs two files or more"),
        (["--compare", "nowhere", "nowhere"], "cannot be read"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:7"}, 200),
        ({"origin": "http://127.0.0.1:80"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "["}, 403),
        ({"host": ""}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_requests_of_other_hosts_are_refused(
    headers: dict[str, str], status: int, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("gradio", reason="the label page needs Gradio: pip install -e '.[label]'")
    from starlette.testclient import TestClient

    from run.clips.label_page import application

    client = TestClient(application(session(data, tmp_path / "a.jsonl")), "http://127.0.0.1")
    answer = client.get("/", headers=headers)
    assert answer.status_code == status
    assert ("refused" in answer.text[:20]) == (status == 403)


@pytest.fixture
def chromium() -> str:
    """The browser, found before any page is opened for it."""
    pytest.importorskip("playwright.sync_api", reason="the browser needs playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((found for n in names if (found := shutil.which(n))), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


@pytest.fixture
def page(chromium: str, data: Path, tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("gradio", reason="the label page needs Gradio: pip install -e '.[label]'")
    command = ["label", "--data", str(data), "--by", "anna", "--questions", "6", "--no-browser"]
    process = start(*command, "--out", str(tmp_path / "a.jsonl"))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", line)
        yield address
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert "6 of 6 questions answered by anna" in out
    finally:
        process.kill()


def test_a_browser_labels_with_the_keyboard(
    chromium: str, page: str, data: Path, tmp_path: Path
) -> None:
    from playwright import sync_api

    texts = [q.text for q in draw_label_questions(data, "test1", 6)]
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        outside: list[str] = []
        tab.on("request", lambda r: outside.append(r.url) if not _is_here(r.url, page) else None)
        shown = tab.locator(".question")

        def press(keys: str, then: str) -> None:
            tab.keyboard.type(keys)
            sync_api.expect(shown).to_have_text(then, timeout=20_000)

        def come(url: str, text: str) -> None:
            tab.goto(url)
            sync_api.expect(shown).to_have_text(text, timeout=60_000)
            sync_api.expect(tab.locator("#yes")).to_be_enabled()

        come(page, texts[0])
        assert tab.locator(".clip img.played").evaluate("i => i.naturalWidth") > 0
        press("y", texts[1])
        press("3", texts[2])
        press("b", texts[1])
        press("n", texts[2])
        press("s", texts[3])
        come(page, texts[3])  # a page loaded anew goes on
        press("nn", texts[4])  # what is not yet shown is not answered
        tab.locator("#no").click()
        sync_api.expect(shown).to_have_text(texts[5])
        press("y", "All 6 questions are answered. Thank you!")
        press("y", "All 6 questions are answered. Thank you!")
        browser.close()
    assert not outside, outside
    labels = read_labels(tmp_path / "a.jsonl")
    assert [(a.text, a.answer, a.frame) for a in labels] == [
        (text, answer, 0)
        for text, answer in zip(texts, ["yes", "no", "skip", "no", "no", "yes"], strict=True)
    ]
    lines = [json.loads(x) for x in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [x["frame"] for x in lines] == [0, 3, 0, 0, 0, 0, 0]
    assert all(0 < x["seconds"] < 60 for x in lines)


def _is_here(url: str, page: str) -> bool:
    return url.startswith((page, "data:", "blob:"))
