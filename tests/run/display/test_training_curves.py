"""``curves``: training runs in one picture; what cannot be drawn is one sentence."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from run.__main__ import main
from run.display.training_curves import Points, curve_points, draw_curves, run_labels, stage_points

HEAD = "stage,step,loss,success\n"


def folder(path: Path, text: str) -> Path:
    path.mkdir(parents=True)
    (path / "curve.csv").write_text(text)
    return path


def run(path: Path, shift: float = 0.0) -> Path:
    first = "".join(f"first,{k},{9 - k},\n" for k in range(1, 4))
    second = "".join(f"second,{k},1,{0.1 * (k - 3) + shift}\n" for k in range(4, 8))
    return folder(path, HEAD + first + second)


def test_a_stage_is_counted_from_its_beginning_and_smoothed(tmp_path: Path) -> None:
    path = run(tmp_path / "r")
    loss = curve_points(path, "loss")
    assert (loss.steps, loss.values) == ([*range(1, 8)], [8, 7, 6, 1, 1, 1, 1])
    points = curve_points(path, "success", "second", 2)
    assert points.steps == [1, 2, 3, 4] and points.values == pytest.approx([0.1, 0.15, 0.25, 0.35])
    assert curve_points(path, "success").steps == [4, 5, 6, 7]


def test_no_line_joins_two_stages_and_no_mean_spans_them(tmp_path: Path) -> None:
    loss = curve_points(run(tmp_path / "r"), "loss", smooth=2)
    assert loss.values == [8, 7.5, 6.5, 1, 1, 1, 1]
    steps, values = loss.with_breaks()
    assert len(steps) == 8 and [math.isnan(v) for v in values] == [k == 3 for k in range(8)]
    assert loss.stage_starts() == [("first", 1), ("second", 3.5)]
    (axes,) = draw_curves({"r": {"loss": loss}}, ["loss"]).axes
    assert [text.get_text().strip() for text in axes.texts] == ["first", "second"]
    (line,) = axes.lines
    assert np.isnan(np.asarray(line.get_ydata(), float)).sum() == 1
    rows = [
        {"stage": s, "step": k, "v": v} for s, k, v in (("a", 1, 0.5), ("a", 2, ""), ("b", 3, 1))
    ]
    assert stage_points(rows, "v").stage_starts() == [("a", 1), ("b", 2)]
    assert stage_points([], "v").stage_starts() == []


def test_many_runs_and_columns_look_different_and_their_names_stand_as_they_are() -> None:
    names = [f"{letter}$_{k}" for letter in "abcdefghi" for k in range(6)]
    points = Points([1, 2], [0.0, 1.0], ["", ""])
    columns = ["success", "true", "loss", "held_out"]
    figure = draw_curves({name: dict.fromkeys(columns, points) for name in names}, columns)
    lines = figure.axes[0].lines
    looks = {(x.get_color(), x.get_linestyle(), str(x.get_marker())) for x in lines}
    assert len(looks) == len(names)
    assert figure.axes[1].get_title(loc="left") == "reports that are true"
    figure.canvas.draw()  # a name with dollars is no formula


def test_runs_that_differ_in_a_number_alone_share_a_colour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tuple(
        run(tmp_path / f"20260102-03040{k}-{name}", 0.1 * k)
        for k, name in enumerate(("truth-0", "truth-1", "detector-0"))
    )
    out = tmp_path / "pictures" / "all.png"
    command = ["curves", *map(str, runs), "--columns", "success", "loss", "--out", str(out)]
    assert main(command) == 0
    assert capsys.readouterr().out.strip() == str(out) and out.stat().st_size > 5_000
    named = run_labels(runs)
    lines = {n: {"success": curve_points(p, "success")} for n, p in named.items()}
    (axes,) = draw_curves(lines, ["success"]).axes
    drawn = {line.get_label(): line for line in axes.lines}
    assert list(drawn) == ["truth-0", "truth-1", "detector-0"]
    one, two, other = drawn.values()
    assert one.get_color() == two.get_color() != other.get_color()
    assert one.get_linestyle() == other.get_linestyle() != two.get_linestyle()


def test_what_cannot_be_drawn_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(run(tmp_path / "good"))
    empty = str(folder(tmp_path / "empty", HEAD))
    odd = str(folder(tmp_path / "odd", HEAD + "first,1,much,\n"))
    for arguments, message in (
        ([str(tmp_path)], "no run folder of a training command"),
        ([empty], "has no rows yet"),
        ([good, "--columns", "sucess"], "did you mean 'success'?"),
        ([good, "--columns", "success", "--stage", "third"], "nothing under 'success'"),
        ([odd, "--columns", "loss"], "'much' is no number"),
        ([good, "--out", str(tmp_path / "x.strange")], "x.strange': Format"),
        ([good, "--smooth", "0"], "--smooth must be at least 1"),
        ([], "name at least one run folder"),
    ):
        assert main(["curves", *arguments]) == 2
        assert message in " ".join(capsys.readouterr().err.split()), message
