"""The update compared with TRL's loss on the same tensors, and its invariants."""

import copy
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import RlConfig
from pipeline.errors import BadInput
from pipeline.records import PolicyRow, PolicyTask, PolicyWork
from pipeline.rl.learn import learn
from pipeline.rl.policy import Policy, load_policy, save_policy, side_by_side, token_logprobs
from pipeline.rl.sample import sample, sample_with_vllm
from pipeline.rl.tiny import make_policy
from pipeline.rl.update import Adam, NotFinite, Row, token_losses, update
from pipeline.rl.words import EXPLORE, Words, answer_text
from pipeline.store import files
from pipeline.store.paths import RunPaths, TryPaths
from tests.rl import vllm_stand_in

RL = RlConfig(new_tokens=8, learning_rate=1e-2)


def rows_of(policy: Policy, advantages: list[float], seed: int = 0) -> list[Row]:
    made = sample(policy, [EXPLORE] * len(advantages), RL, seed)
    return [Row(one.prompt, one.tokens, one.logprobs, a) for one, a in zip(made, advantages, strict=True)]


def weights(policy: Policy) -> list[torch.Tensor]:
    return [one.detach().clone() for one in policy.model.parameters()]


def chance(policy: Policy, row: Row) -> float:
    """Log-probability of a whole answer."""
    batch = side_by_side([list(row.prompt)], [list(row.tokens)], policy.pad, torch.device("cpu"))
    return float(token_logprobs(policy.model, batch, RL.temperature)[0].sum().detach())


@pytest.mark.filterwarnings("default")  # TRL's imports warn
def test_the_loss_and_its_gradient_are_those_of_trl(policy: Policy, tmp_path: Path) -> None:
    """Ratios on both sides of the clip, advantages of both signs, answers of several lengths, late rows."""
    torch.manual_seed(1)
    rl = replace(RL, clip=0.2, clip_high=0.28)
    prompts, answers = [[3], [4, 11], [3], [4, 10, 12]], [[5, 12, 6, 1], [13, 1], [7, 8, 9, 14, 11, 1], [10]]
    batch = side_by_side(prompts, answers, policy.pad, torch.device("cpu"))
    start, _ = token_logprobs(policy.model, batch, rl.temperature)
    old = (start + 0.4 * torch.randn_like(start)).detach()
    advantages, importance = torch.tensor([1.5, -0.7, 0.3, -2.0]), torch.tensor([[1.0], [0.4], [2.0], [1.3]])
    theirs = trl_loss(policy, batch, len(prompts[3]), old, advantages, importance, rl, tmp_path)
    per_token, clipped = token_losses(start, old, advantages.unsqueeze(1), importance, rl)
    ours = (per_token * batch.answer).sum() / batch.answer.sum()
    assert 0 < float((clipped * batch.answer).sum()) < float(batch.answer.sum())
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    gradients = [torch.autograd.grad(loss, list(policy.model.parameters())) for loss in (ours, theirs)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def trl_loss(
    policy: Policy, batch: Any, width: int, old: Any, advantages: Any, importance: Any, rl: RlConfig, folder: Path
) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=str(folder), loss_type="bnpo", beta=0.0, epsilon=rl.clip, epsilon_high=rl.clip_high,
        temperature=rl.temperature, use_cpu=True, report_to=[], num_generations=2, per_device_train_batch_size=2,
        bf16=False, gradient_checkpointing=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        policy.model,
        lambda **_: [0.0],
        config,
        Dataset.from_dict({"prompt": ["a", "b"]}),
        processing_class=policy.tokenizer,
    )
    trainer.use_vllm = trainer.vllm_importance_sampling_correction = True  # TRL takes importance weights this way
    trainer.model.eval()
    inputs = {
        "prompt_ids": batch.ids[:, :width],
        "prompt_mask": batch.attention[:, :width],
        "completion_ids": batch.ids[:, width:],
        "completion_mask": batch.answer,
        "advantages": advantages,
        "old_per_token_logps": old,
        "importance_sampling_ratio": importance,
    }
    return trainer._compute_loss(policy.model, inputs)


def test_good_ideas_become_more_probable_and_bad_ones_less(policy: Policy) -> None:
    rows = rows_of(policy, [1.0, -1.0, 1.0, -1.0])
    before = [chance(policy, row) for row in rows]
    measures = update(policy, Adam(policy.model, RL), rows, RL, random.Random(0))
    after = [chance(policy, row) for row in rows]
    assert [new > old for new, old in zip(after, before, strict=True)] == [True, False, True, False]
    assert measures.rows == 4 and measures.ratio == pytest.approx(1) and measures.weight == pytest.approx(1, abs=1e-4)


def test_minibatches_and_padding_do_not_change_the_gradient(policy: Policy) -> None:
    """The gradient of a minibatch is the same for any number of rows in a forward pass."""
    rows = rows_of(policy, [1.0, -0.5, 0.2, 0.9, -2.0])
    made = []
    for micro in (1, 2, 5):
        copied = replace(policy, model=copy.deepcopy(policy.model))
        update(copied, Adam(copied.model, RL), rows, replace(RL, microbatch=micro), random.Random(0))
        made.append(weights(copied))
    for other in made[1:]:
        for one, two in zip(made[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("shift", "weight"), [(0.0, 1.0), (-0.1, 2.0), (-1.0, 2.0), (1.0, 0.0)])
def test_late_ideas_are_weighted_by_their_probability_ratio_up_to_the_cap(
    policy: Policy, shift: float, weight: float
) -> None:
    """Stored log-probabilities that differ from the policy's by `shift` per token."""
    row = rows_of(policy, [1.0])[0]
    late = replace(row, logprobs=tuple(one + shift for one in row.logprobs))
    expected = weight if shift != -0.1 else min(2.0, math.exp(0.1 * len(row.tokens)))
    expected = expected if shift != 1.0 else math.exp(-len(row.tokens))
    measures = update(policy, Adam(policy.model, RL), [late], RL, random.Random(0))
    assert measures.weight == pytest.approx(expected, rel=1e-3)
    assert measures.truncated == (expected >= RL.cap)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"advantage": math.nan}, NotFinite, "not finite"),
        ({"logprobs": (math.nan,)}, NotFinite, "not finite"),
        ({"logprobs": ()}, ValueError, "1 tokens and 0 log-probabilities"),
        ({"tokens": (10**6,)}, ValueError, "the tokenizer does not match"),
    ],
)
def test_broken_rows_are_refused_before_anything_changes(
    policy: Policy, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    before, row = weights(policy), Row((3,), (5,), (-1.0,), 1.0)
    with pytest.raises(error, match=said):
        update(policy, Adam(policy.model, RL), [replace(row, **change)], RL, random.Random(0))
    assert all(torch.equal(one, two) for one, two in zip(before, weights(policy), strict=True))


def test_a_gradient_that_is_not_finite_changes_no_weight(policy: Policy) -> None:
    engine = Adam(policy.model, RL)
    for one in policy.model.parameters():
        one.grad = torch.full_like(one, math.inf)
    before = weights(policy)
    with pytest.raises(NotFinite, match="the gradient is not finite"):
        engine.step()
    assert all(torch.equal(one, two) for one, two in zip(before, weights(policy), strict=True))


def test_rows_without_information_are_reported(policy: Policy) -> None:
    with pytest.raises(ValueError, match="no idea to learn from"):
        update(policy, Adam(policy.model, RL), [], RL, random.Random(0))


# ---- checkpoints


def test_a_policy_is_restored_from_its_checkpoint(policy: Policy, tmp_path: Path) -> None:
    save_policy(policy, tmp_path / "p", 3)
    back = load_policy(tmp_path / "p", 3, RL)
    row = rows_of(policy, [1.0])[0]
    assert chance(back, row) == pytest.approx(chance(policy, row), rel=1e-6)
    with pytest.raises(BadInput, match="is the policy of step 3, not of step 4"):
        load_policy(tmp_path / "p", 4, RL)
    with pytest.raises(BadInput, match="contains no policy"):
        load_policy(tmp_path, 0, RL)


def test_a_tokenizer_that_does_not_match_is_refused(policy: Policy, words: Words, tmp_path: Path) -> None:
    save_policy(policy, tmp_path / "p", 0)
    larger = make_policy(replace(words, names=(*words.names, "more", "ideas")), 0, width=16, layers=1)
    larger.tokenizer.save_pretrained(str(tmp_path / "p"))
    with pytest.raises(BadInput, match="do not match"):
        load_policy(tmp_path / "p", 0, RL)


@pytest.mark.filterwarnings("default")  # of peft
def test_an_adapter_is_trained_and_saved_without_its_base(policy: Policy, tmp_path: Path) -> None:
    save_policy(policy, tmp_path / "base", 0)
    rl = replace(RL, lora_rank=2)
    adapted = load_policy(tmp_path / "base", 0, rl, train=True)
    row = rows_of(policy, [1.0])[0]
    before = chance(adapted, row)
    update(adapted, Adam(adapted.model, rl), [row] * 4, rl, random.Random(0))
    save_policy(adapted, tmp_path / "step", 1)
    assert not (tmp_path / "step/model.safetensors").exists()
    back = load_policy(tmp_path / "step", 1, rl, base=str(tmp_path / "base"))
    assert chance(back, row) == pytest.approx(chance(adapted, row), rel=1e-4) and chance(back, row) > before


# ---- sampling


def test_samples_contain_the_probabilities_that_they_were_drawn_with(policy: Policy) -> None:
    rl = replace(RL, temperature=0.7)
    for one in sample(policy, [EXPLORE, "improve: idea0 + rate=0.1"], rl, seed=3):
        batch = side_by_side([list(one.prompt)], [list(one.tokens)], policy.pad, torch.device("cpu"))
        logprobs, entropies = token_logprobs(policy.model, batch, rl.temperature)
        assert one.logprobs == pytest.approx(logprobs[0].tolist(), abs=1e-4)
        assert one.entropy == pytest.approx(float(entropies.mean()), abs=1e-4)
    again = sample(policy, [EXPLORE], rl, seed=3)
    assert again == sample(policy, [EXPLORE], rl, seed=3) != sample(policy, [EXPLORE], rl, seed=4)


def test_thinking_is_counted_separately_from_the_idea(policy: Policy) -> None:
    from pipeline.rl.sample import sample_of

    text = answer_text(["idea1", "idea2", "idea3"], ["idea4", "rate=0.2"])
    tokens = [*policy.tokenizer(text)["input_ids"], policy.eos]
    made = sample_of(
        policy.tokenizer, [3], [*tokens, policy.pad], [-1.0] * (len(tokens) + 1), [0.5] * (len(tokens) + 1)
    )
    assert made.text == text and made.tokens == tuple(tokens)
    assert made.thinking == len(["<think>", "idea1", "idea2", "idea3", "</think>"])


@pytest.mark.filterwarnings("default")  # of peft
@pytest.mark.parametrize("rank", [0, 2])
def test_samples_of_vllm_contain_the_probabilities_that_they_were_drawn_with(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """With a STAND-IN for vLLM (vllm_stand_in.py)."""
    vllm_stand_in.install(monkeypatch)
    rl = replace(RL, temperature=0.7, lora_rank=rank)
    save_policy(policy, tmp_path / "base", 0)
    folder, base = tmp_path / "base", ""
    if rank:
        adapted = load_policy(tmp_path / "base", 0, rl, train=True)
        update(adapted, Adam(adapted.model, rl), rows_of(policy, [1.0]) * 4, rl, random.Random(0))
        folder, base = tmp_path / "step", str(tmp_path / "base")
        save_policy(adapted, folder, 1)
    now = load_policy(folder, 1 if rank else 0, rl, base)
    for one in sample_with_vllm(folder, base, [EXPLORE, "improve: idea0 + rate=0.1"], rl, seed=3):
        batch = side_by_side([list(one.prompt)], [list(one.tokens)], policy.pad, torch.device("cpu"))
        logprobs, _ = token_logprobs(now.model, batch, rl.temperature)
        assert one.logprobs == pytest.approx(logprobs[0].tolist(), abs=1e-4) and 1 <= len(one.tokens) <= rl.new_tokens


def test_a_policy_without_finite_probabilities_is_not_saved(policy: Policy, tmp_path: Path) -> None:
    save_policy(policy, tmp_path / "start", 0)
    files.create(tmp_path / "samples.json", sample(policy, [EXPLORE] * 2, RL, 0))
    rows = (PolicyRow(0, 0, 1.0, 1.0), PolicyRow(0, 1, 0.0, -1.0))
    task = PolicyTask(PolicyWork.UPDATE, 0, 0, 0, "start", rows=rows, samples={"0": "samples.json"})
    paths = TryPaths(tmp_path / "try_0")
    paths.output.mkdir(parents=True)
    with pytest.raises(NotFinite, match="no finite probabilities after this update"):
        learn(RunPaths(tmp_path), paths, task, replace(RL, learning_rate=math.inf), Adam)
    assert not list(paths.output.iterdir())
