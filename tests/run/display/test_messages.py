"""What takes long says what it is."""

from __future__ import annotations

import time

import pytest

from run.display import messages
from run.display.messages import saying


def test_only_what_takes_long_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "PATIENCE", 0.05)
    with saying("loading nothing"):
        pass
    with saying("loading quietly", quiet=True):
        time.sleep(0.1)
    assert capsys.readouterr() == ("", "")
    with saying("loading the weights"):
        time.sleep(0.2)
    assert capsys.readouterr() == ("", "loading the weights …\n")


def test_nothing_is_said_after_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "PATIENCE", 0.05)
    with pytest.raises(KeyboardInterrupt), saying("loading"):
        raise KeyboardInterrupt
    time.sleep(0.1)
    assert capsys.readouterr().err == ""
