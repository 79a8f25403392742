"""Which texts repeat held-out ones: exactly, nearly, or not at all. The file is the same in both baselines."""

import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BASELINES = Path(__file__).resolve().parents[2] / "baselines"


@pytest.fixture(scope="module")
def duplicates() -> ModuleType:
    spec = importlib.util.spec_from_file_location("duplicates_of_nanogpt", BASELINES / "nanogpt/duplicates.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_baselines_have_the_same_file() -> None:
    first, second = (BASELINES / name / "duplicates.py" for name in ("grpo", "nanogpt"))
    assert first.read_bytes() == second.read_bytes()


def tokens(start: int, stop: int) -> np.ndarray:
    """Tokens that are all different."""
    return np.arange(start, stop, dtype=np.uint16)


def join(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param(tokens(0, 100), "exact", id="the same"),
        pytest.param(join(tokens(0, 60), tokens(500, 540)), "near", id="58 of 98 runs are the same"),
        pytest.param(join(tokens(0, 40), tokens(500, 560)), None, id="38 of 98 runs are the same"),
        pytest.param(
            join(tokens(500, 900), tokens(0, 100), tokens(900, 1300)), "near", id="all of it as part of a long text"
        ),
        pytest.param(tokens(20, 50), "near", id="a short part of it"),
        pytest.param(tokens(0, 2), None, id="shorter than a run"),
        pytest.param(tokens(500, 600), None, id="another"),
        pytest.param(tokens(0, 100)[::-1], None, id="backwards"),
        pytest.param(tokens(0, 0), None, id="nothing"),
        pytest.param(tokens(7000, 7002), "exact", id="the same, shorter than a run"),
        pytest.param(np.zeros(50, np.uint16), None, id="the same token repeated"),
    ],
)
def test_what_repeats(duplicates: ModuleType, text: np.ndarray, kind: str | None) -> None:
    held_out = duplicates.HeldOut(length=3, share=0.5)
    for one in (tokens(0, 100), tokens(1000, 1100), tokens(7000, 7002), tokens(0, 0)):
        held_out.add(one)
    assert held_out.repeated_by(text) == kind


def test_a_sample_of_the_runs_is_enough_for_long_texts(duplicates: ModuleType) -> None:
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 50_000, 800).astype(np.uint16) for _ in range(100)]
    held_out = duplicates.HeldOut(length=13, share=0.5, every=16)
    for text in texts:
        held_out.add(text)
    assert 30 < np.mean(held_out.sizes) < 70  # 788 / 16

    def found(kept: int) -> int:
        changed = [join(text[:kept], rng.integers(0, 50_000, 800 - kept).astype(np.uint16)) for text in texts]
        return sum(held_out.repeated_by(text) is not None for text in changed)

    assert found(600) >= 98 and found(200) <= 2 and found(0) == 0


def test_omitted_texts_are_counted_and_recorded_by_part(
    duplicates: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out, removed = duplicates.HeldOut(length=3, share=0.5), Counter[str]()
    held_out.add(tokens(0, 100))
    texts = [tokens(0, 100), tokens(200, 300), tokens(0, 90), tokens(300, 400)]
    kept = list(duplicates.without(texts, held_out, removed))
    assert [text[0] for text in kept] == [200, 300] and removed == {"exact": 1, "near": 1}
    duplicates.note(tmp_path, "train", removed)
    duplicates.note(tmp_path, "test", Counter())
    noted = json.loads((tmp_path / "duplicates.json").read_text())
    assert noted == {"train": {"exact": 1, "near": 1}, "test": {"exact": 0, "near": 0}}
    assert "train: 1 exact and 1 near repetitions of held-out text left out" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["duplicates.json"]
