"""The update on two ranks compared with that of one process, on the same rows."""

import multiprocessing
import socket
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from pipeline.config import RlConfig
from pipeline.records import PolicyRow, PolicyTask, PolicyWork, UpdateMeasures
from pipeline.rl.policy import Policy, save_policy
from pipeline.rl.sample import sample
from pipeline.rl.update import Adam
from pipeline.rl.words import EXPLORE
from pipeline.store import files
from pipeline.store.paths import TryPaths
from tests.rl import ranks_worker

RL = RlConfig(new_tokens=8, learning_rate=1e-2, minibatch=3, microbatch=1)
CASES = {
    "whole": replace(RL, zero_stage=0),
    "split_gradients": replace(RL, zero_stage=2, gradient_checkpointing=True),
    "split_experts": replace(RL, zero_stage=3, lora_rank=2),
}


def mixture_of_experts(policy: Policy) -> Policy:
    """A small model with the architecture of the policy at paper scale."""
    config = Qwen3MoeConfig(
        vocab_size=policy.vocabulary, hidden_size=16, intermediate_size=16, moe_intermediate_size=8, num_experts=4,
        num_experts_per_tok=2, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=4,
        eos_token_id=policy.eos, pad_token_id=policy.pad,
    )  # fmt: skip
    return replace(policy, model=Qwen3MoeForCausalLM(config))


@pytest.mark.filterwarnings("default")  # of peft
def test_two_ranks_learn_what_one_process_learns(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five rows of different lengths, so that one rank has one row less; clipped gradients; two steps of the optimizer
    per update, and a second update that requires the state of the first."""
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    advantages = (1.0, -0.5, 0.2, 0.9, -2.0)
    for name, rl in CASES.items():
        start = mixture_of_experts(policy) if name == "split_experts" else policy
        save_policy(start, tmp_path / f"start_{name}", 0)
        files.create(tmp_path / f"{name}.samples.json", sample(start, [EXPLORE] * len(advantages), rl, seed=0))
        rows = tuple(PolicyRow(0, number, 0.5, advantage) for number, advantage in enumerate(advantages))
        task = PolicyTask(PolicyWork.UPDATE, 0, 0, 0, f"start_{name}", rows=rows, samples={"0": f"{name}.samples.json"})
        files.create(tmp_path / f"{name}.task.json", task)
        files.create(tmp_path / f"{name}.rl.json", replace(rl, model=str(tmp_path / f"start_{name}")))
    run_two(tmp_path)
    for name in CASES:
        rl = replace(files.read(tmp_path / f"{name}.rl.json", RlConfig), zero_stage=None)
        alone, ranks = ranks_worker.two_updates(tmp_path, name, rl, Adam), TryPaths(tmp_path / "Zero" / name / "try_1")
        one, two = dict(weights(alone)), dict(weights(ranks))
        assert one.keys() == two.keys() and one
        for key in one:
            assert_close(one[key], two[key], rtol=1e-4, atol=1e-5, msg=lambda text, of=(name, key): f"{of}: {text}")
        measured = [asdict(files.read(of.update_measures, UpdateMeasures)) for of in (alone, ranks)]
        assert measured[1] == pytest.approx(measured[0], rel=1e-3, abs=1e-5)


def weights(of: TryPaths) -> Iterator[tuple[str, Tensor]]:
    for path in of.checkpoint.glob("*.safetensors"):
        yield from load_file(path).items()


def run_two(folder: Path) -> None:
    """Two ranks, forked from a process that has already imported everything they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([ranks_worker.__name__, "deepspeed", "peft"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [context.Process(target=ranks_worker.main, args=(rank, 2, port, folder), daemon=True) for rank in (0, 1)]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(200)
    assert [one.exitcode for one in ranks] == [0, 0]
