"""The GRPO baseline: its mathematics against hand-worked numbers, its commands, its rules."""

import contextlib
import importlib
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
GRPO = ROOT / "baselines" / "grpo"


@contextlib.contextmanager
def code(folder: Path) -> Iterator[SimpleNamespace]:
    """The modules of a folder, imported anew; none of them remains in `sys.modules`."""
    names = [path.stem for path in folder.glob("*.py")]
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


@pytest.fixture(scope="module")
def grpo() -> Iterator[SimpleNamespace]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with code(GRPO) as modules:
        yield modules
    torch.set_num_threads(threads)


def size_of(scale: str) -> dict:
    """The size file as the pipeline writes it."""
    return yaml.safe_load((ROOT / "conf" / "size" / f"grpo_{scale}.yaml").read_text())["size"]


@pytest.fixture(scope="module")
def size() -> dict:
    """The tiny size with an easier task, a short warm start and short steps."""
    size = size_of("tiny")
    size["prepare"] |= {"operands": [[0, 9], [1000, 9989]], "train": 2048, "validation": 512, "test": 512}
    size["prepare"]["warm_start"] |= {"until": 0.25}
    size["settings"] = {"rollouts": 128, "minibatch": 32, "microbatch": 32}
    return size


@pytest.fixture(scope="module")
def data(grpo: SimpleNamespace, size: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grpo") / "data"
    grpo.prepare.prepare(folder, size)
    return folder


def train(
    modules: SimpleNamespace, data: Path, output: Path, size: dict, seed: int = 1, budget: str = "steps=1"
) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    modules.train.train(data / "train", output, seed, size, budget)
    return output


def metrics(output: Path) -> list[dict]:
    """The metrics without times, which differ between runs."""
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") > 0 for row in rows)
    return rows


# --- mathematics ----------------------------------------------------------------------------------------------------


def test_advantages_are_in_standard_deviations_of_the_group(grpo: SimpleNamespace) -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    # means 1/4, 1, 1/2; standard deviations (with n - 1) sqrt((9/16 + 3/16) / 3) = 1/2, 0, sqrt(1/3)
    root = math.sqrt(3) / 2
    expected = torch.tensor([[1.5, -0.5, -0.5, -0.5], [0.0, 0.0, 0.0, 0.0], [-root, root, -root, root]])
    torch.testing.assert_close(
        grpo.grpo.group_advantages(rewards, grpo.settings.Tiny()), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "slope"),
    [
        (1.0, 2.0, 2.0, 2.0),  # on policy: the plain policy gradient
        (1.5, 1.0, 1.2, 0.0),  # more likely than clip allows, good: no gradient any more
        (1.5, -1.0, -1.5, -1.0),  # more likely, bad: the gradient remains
        (0.5, 1.0, 0.5, 1.0),  # less likely, good: the gradient remains
        (0.5, -1.0, -0.8, 0.0),  # less likely than clip allows, bad: no gradient any more
    ],
)
def test_clipped_objective(
    grpo: SimpleNamespace, ratio: float, advantage: float, objective: float, slope: float
) -> None:
    at = torch.tensor([[ratio]], requires_grad=True)
    found = grpo.grpo.clipped_objective(at, torch.tensor([[advantage]]), SimpleNamespace(clip=0.2))
    found.sum().backward()
    assert found.item() == pytest.approx(objective)
    assert at.grad is not None and at.grad.item() == pytest.approx(slope)


def test_policy_loss_by_hand(grpo: SimpleNamespace) -> None:
    """Two rollouts of 2 tokens and 1 token, ratios 1.1, 1.5 and 0.5."""
    ratios = torch.tensor([[1.1, 1.5], [0.5, 7.0]])
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    advantages = torch.tensor([[1.0], [-1.0]])
    weights = grpo.grpo.token_weights(mask)
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.25], [0.5, 0.0]]))
    old = torch.full((2, 2), -1.0)
    arguments = (old + ratios.log(), old, torch.zeros(2, 2), advantages, mask, weights)
    settings = SimpleNamespace(clip=0.2)
    whole = grpo.grpo.policy_loss(*arguments, settings)
    # -(0.25 * 1.1 + 0.25 * 1.2 + 0.5 * -0.8)
    assert whole.item() == pytest.approx(-0.175)
    parts = [grpo.grpo.policy_loss(*(tensor[row : row + 1] for tensor in arguments), settings) for row in range(2)]
    assert sum(parts).item() == pytest.approx(-0.175)


def test_scores_do_not_depend_on_padding(grpo: SimpleNamespace, data: Path) -> None:
    model = grpo.models.load_model(data / "train" / "model", torch.device("cpu"))
    tokenizer = grpo.models.Tokenizer(data / "train" / "model")
    prompts, completions = tokenizer.encode(["7+12345=", "57+4821="]), tokenizer.encode(["12", "4878"])
    settings = grpo.settings.Tiny()
    packed = grpo.rollout.pack(prompts, completions, [0.0, 1.0], tokenizer, {"new_tokens": 6})
    logprobs, _ = grpo.train.score_tokens(model, packed.ids, packed.attention, packed.mask, settings, torch.float32)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        logits = model(torch.tensor([prompt + completion])).logits.log_softmax(dim=-1)[0]
        alone = [logits[len(prompt) + at - 1, token].item() for at, token in enumerate(completion)]
        assert logprobs[row, : len(completion)].tolist() == pytest.approx(alone, abs=1e-4)


def test_learning_rate_warms_up(grpo: SimpleNamespace) -> None:
    settings = SimpleNamespace(learning_rate=2.0, warmup=0.2)
    rates = [grpo.train.learning_rate(progress, settings) for progress in (0.0, 0.1, 0.2, 1.0)]
    assert rates == pytest.approx([0.0, 1.0, 2.0, 2.0])


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        (r"so <answer>\frac12</answer>", r"\frac{1}{2}", True),
        (r"<answer> $0.5$ </answer>", r"\frac{1}{2}", True),
        (r"<answer>1</answer> no, <answer>2</answer>", "2", True),
        (r"<answer>1</answer> no, <answer>2</answer>", "1", False),
        (r"<answer>x^2+1</answer>", "1+x^2", True),
        (r"\boxed{2}", "2", False),
        ("<answer>2", "2", False),
        ("<answer></answer>", "2", False),
        ("2</answer>", "2", False),
        ("", "2", False),
    ],
)
def test_grading_of_mathematics(grpo: SimpleNamespace, completion: str, answer: str, right: bool) -> None:
    problem = grpo.problems.Problem("?", answer)
    assert grpo.problems.is_correct(completion, problem, size_of("paper")) is right


@pytest.mark.parametrize(("completion", "right"), [("46", True), (" 46 ", True), ("046", False), ("", False)])
def test_exact_grading(grpo: SimpleNamespace, size: dict, completion: str, right: bool) -> None:
    assert grpo.problems.is_correct(completion, grpo.problems.Problem("12+34", "46"), size) is right


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"so \boxed{1} and \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"no box", None),
        (r"open \boxed{1", None),
    ],
)
def test_boxed_answers(grpo: SimpleNamespace, solution: str, answer: str | None) -> None:
    assert grpo.prepare.last_boxed(solution) == answer


# --- data -----------------------------------------------------------------------------------------------------------


def test_held_out_problems_are_never_trained_on(grpo: SimpleNamespace, data: Path, size: dict) -> None:
    read = grpo.problems.read_problems
    splits = [
        read(data / "train" / "problems.jsonl"),
        read(data / "evaluator" / "validation.jsonl"),
        read(data / "evaluator" / "test.jsonl"),
    ]
    assert [len(split) for split in splits] == [2048, 512, 512]
    assert len(set().union(*splits)) == 2048 + 512 + 512
    for problem in splits[0][:100]:
        assert sum(map(int, problem.problem.split("+"))) == int(problem.answer)


def test_drawing_leaves_out_what_is_held_out(grpo: SimpleNamespace, size: dict) -> None:
    small = {"prepare": {"operands": [[1, 9], [1, 9]]}}
    held_out = grpo.prepare.draw_additions(40, small, "secret", set())
    rest = grpo.prepare.draw_additions(41, small, 0, set(held_out))
    assert len(set(rest)) == 41 and not set(rest) & set(held_out)


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (
            r"If $x+y=12$ and $xy = 20$, what is the value of $x^2+y^2$ in simplest form? Express it as a number.",
            "exact",
        ),
        (
            r"If ${x}+y=12$ and $xy=20$,\ what is the value of $x^{2}+y^2$ in simplest form? Express it as a number.",
            "exact",
        ),
        (
            r"If $x+y=12$ and $xy = 21$, what is the value of $x^2+y^2$ in simplest form? Express it as a number.",
            "near",
        ),
        (r"If $x+y=15$ and $xy = 21$, what is the value of $x^3+y^3$ in lowest terms? Give it as a fraction.", None),
        (r"What is the value of $\sin 30^\circ$?", None),
    ],
)
def test_which_problems_repeat_others(grpo: SimpleNamespace, problem: str, kind: str | None) -> None:
    known = r"If $x+y=12$ and $xy = 20$, what is the value of $x^2+y^2$ in simplest form? Express it as a number."
    held_out = grpo.duplicates.HeldOut(**grpo.prepare.NEAR)
    for text in (known, r"What is the value of $\cos 60^\circ$?"):
        held_out.add(grpo.prepare.words(grpo.problems.Problem(text, "1")))
    assert held_out.repeated_by(grpo.prepare.words(grpo.problems.Problem(problem, "2"))) == kind


def test_the_space_of_tiny_problems_is_large_and_held_out_by_a_secret(grpo: SimpleNamespace, data: Path) -> None:
    tiny = size_of("tiny")
    counts = sum(tiny["prepare"][split] for split in ("train", "validation", "test"))
    assert grpo.prepare.addition_space(tiny) >= 100 * counts
    one, other = (set(grpo.prepare.draw_additions(500, tiny, secret, set())) for secret in ("a", "b"))
    assert len(one & other) < 5
    assert not list((data / "train").rglob("*secret*"))


def test_prepare_skips_existing_parts_and_refuses_another_size(
    grpo: SimpleNamespace, data: Path, size: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "evaluator" / "test.jsonl").unlink()
    before = (data / "evaluator" / "validation.jsonl").stat().st_mtime_ns
    grpo.prepare.prepare(data, size)
    assert (data / "evaluator" / "validation.jsonl").stat().st_mtime_ns == before
    printed = capsys.readouterr().out
    assert "train/model: there already" in printed and "evaluator/test.jsonl: there already" not in printed
    with pytest.raises(SystemExit, match="another size"):
        grpo.prepare.prepare(data, size | {"prompt": "{problem}?"})


# --- training -------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_metrics(grpo: SimpleNamespace, data: Path, size: dict, tmp_path: Path) -> None:
    one, again, other = (
        metrics(train(grpo, data, tmp_path / name, size, seed, "steps=2"))
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert one == again
    assert one != other
    assert [row["step"] for row in one] == [1, 2]
    assert one[0]["update"] > 0


def test_microbatches_change_no_result(grpo: SimpleNamespace, data: Path, size: dict, tmp_path: Path) -> None:
    settings = {"rollouts": 64, "minibatch": 32}
    whole, parts = (
        metrics(train(grpo, data, tmp_path / str(rows), size | {"settings": settings | {"microbatch": rows}}))[0]
        for rows in (32, 5)
    )
    assert whole["reward"] == parts["reward"] > 0
    assert whole["loss"] == pytest.approx(parts["loss"], abs=1e-6)
    assert whole["grad_norm"] == pytest.approx(parts["grad_norm"], rel=1e-4)


def test_killed_and_resumed_training_equals_the_unbroken_one(
    grpo: SimpleNamespace, data: Path, size: dict, tmp_path: Path
) -> None:
    size = size | {"resume_every_s": 0}
    unbroken = train(grpo, data, tmp_path / "unbroken", size, budget="steps=6")

    broken = tmp_path / "broken"
    size_file = tmp_path / "size.json"
    size_file.write_text(json.dumps(size))
    command = [sys.executable, "train.py", "--data", data / "train", "--output", broken, "--seed", "1"]
    child = subprocess.Popen(
        [*command, "--size", size_file, "--budget", "steps=1000"],
        cwd=GRPO,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    deadline = time.monotonic() + 60
    while not (broken / "resume" / "state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = torch.load(broken / "resume" / "state.pt", weights_only=True)["step"]
    assert 1 <= done < 6
    with (broken / "metrics.jsonl").open("a") as file:  # a step that was not saved, and a truncated line
        file.write(json.dumps({"step": done + 1, "seconds": 1e-3, "reward": -7}) + "\n" + '{"step": 4, "rew')

    train(grpo, data, broken, size, budget="steps=6")
    assert metrics(broken) == metrics(unbroken)
    weights = [(folder / "checkpoint" / "model.safetensors").read_bytes() for folder in (unbroken, broken)]
    assert weights[0] == weights[1]


def test_numbers_that_are_not_finite_end_the_training(
    grpo: SimpleNamespace, data: Path, size: dict, tmp_path: Path
) -> None:
    size = size | {"settings": size["settings"] | {"learning_rate": 1e30}}
    with pytest.raises(SystemExit, match=r"step \d+: \w+ is (nan|inf)"):
        train(grpo, data, tmp_path, size, budget="steps=2")
    assert not (tmp_path / "checkpoint").exists()


def test_the_wall_clock_leaves_room_for_one_more_step_and_the_checkpoint(
    grpo: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 30.0
    monkeypatch.setattr(grpo.clock, "seconds_since_start", lambda: now)
    budget = grpo.clock.Budget("seconds=100", seconds_before=10.0, reserve=5.0)
    finished = []
    step = 0
    while not budget.over(step):
        step += 1
        now += 10.0
        finished.append(now + 10.0)
    # a step takes 10 s and is allowed 11, the checkpoint 5: the last step may begin at 84 s
    assert finished == [50.0, 60.0, 70.0, 80.0, 90.0]
    assert budget.progress(0) == pytest.approx(90 / 95)
    assert [grpo.clock.Budget("steps=4").progress(step) for step in (0, 3)] == [0.125, 0.875]
    part = grpo.clock.Budget("steps=1/4")
    assert part.continues and not part.over(0) and part.over(1) and part.progress(0) == 0.125
    part = grpo.clock.Budget("seconds=50/100", seconds_before=-60.0, reserve=5.0)  # now second 20
    assert part.continues and not part.over(0) and part.progress(0) == pytest.approx(20 / 95)
    assert not grpo.clock.Budget("steps=4").continues


def test_the_clock_starts_with_the_process(grpo: SimpleNamespace) -> None:
    command = "import time; time.sleep(0.5); import clock; print(clock.seconds_since_start())"
    start = time.monotonic()
    printed = subprocess.run([sys.executable, "-c", command], cwd=GRPO, capture_output=True, text=True, check=True)
    assert 0.5 <= float(printed.stdout) <= time.monotonic() - start + 0.1


@pytest.mark.parametrize("text", ["80", "steps", "steps=", "steps=x", "minutes=3", "steps=-1", "steps=1/", "steps=/4"])
def test_an_invalid_budget(grpo: SimpleNamespace, text: str) -> None:
    with pytest.raises(SystemExit, match="expected steps=N or seconds=N"):
        grpo.clock.Budget(text)


def test_the_smoke_command(data: Path, size: dict, tmp_path: Path) -> None:
    size_file = tmp_path / "size.json"
    size_file.write_text(json.dumps(size))
    command = [sys.executable, "train.py", "--smoke", "--data", data / "train", "--output", tmp_path / "out"]
    subprocess.run([*command, "--seed", "1", "--size", size_file], cwd=GRPO, check=True)
    assert len(metrics(tmp_path / "out")) == 1


# --- evaluation -----------------------------------------------------------------------------------------------------


def test_the_evaluator_scores_the_checkpoint(grpo: SimpleNamespace, data: Path, size: dict, tmp_path: Path) -> None:
    scores = [
        grpo.evaluate.evaluate(data / "evaluator", data / "train" / "model", split, seed, size)
        for split, seed in (("validation", 1), ("validation", 1), ("test", 1), ("validation", 2))
    ]
    assert scores[0] == scores[1]
    assert scores[0] != scores[2] and scores[0] != scores[3]
    assert "items" not in scores[0]
    assert len(scores[2]["items"]) == 512 and sum(scores[2]["items"]) / 512 == pytest.approx(scores[2]["value"])
    share = scores[0]["value"]
    assert scores[0]["n"] == 512 and 0.1 < share < 0.5
    assert scores[0]["standard_error"] == pytest.approx(math.sqrt(share * (1 - share) / 511))


def spoil(kind: str, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Writes a checkpoint with one defect."""
    name = next(iter(weights))
    if kind == "missing file":
        return
    if kind == "pickle":
        path.write_bytes(pickle.dumps(weights))
    elif kind == "torch pickle":
        torch.save(weights, path)
    elif kind == "link":
        save_file(weights, path.with_name("other.safetensors"))
        path.symlink_to(path.with_name("other.safetensors"))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "cut off":
        save_file(weights, path)
        path.write_bytes(path.read_bytes()[:-100])
    else:
        if kind == "nan":
            weights[name][0, 0] = math.nan
        elif kind == "infinite":
            weights[name][0, 0] = -math.inf
        elif kind == "wrong shape":
            weights[name] = weights[name].T.contiguous()
        elif kind == "wrong type":
            weights[name] = weights[name].long()
        elif kind == "missing weight":
            del weights[name]
        elif kind == "extra weight":
            weights["model.extra"] = torch.zeros(1)
        elif kind == "too large":
            weights["model.extra"] = torch.zeros(10_000_000)
        save_file(weights, path)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing file", "no model.safetensors"),
        ("pickle", "cannot be read"),
        ("torch pickle", "cannot be read"),
        ("link", "not a regular file"),
        ("pipe", "not a regular file"),
        ("folder", "not a regular file"),
        ("cut off", "cannot be read"),
        ("nan", "not finite"),
        ("infinite", "not finite"),
        ("wrong shape", "has shape"),
        ("wrong type", "has type"),
        ("missing weight", "missing or unknown"),
        ("extra weight", "model.extra"),
        ("too large", "larger than the model"),
    ],
)
def test_the_evaluator_refuses_a_bad_checkpoint(
    grpo: SimpleNamespace,
    data: Path,
    size: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    reason: str,
) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    spoil(kind, load_file(data / "train" / "model" / "model.safetensors"), checkpoint / "model.safetensors")
    (tmp_path / "size.json").write_text(json.dumps(size))
    command = f"evaluate.py --data {data}/evaluator --checkpoint {checkpoint} --split test --seed 1"
    command += f" --size {tmp_path}/size.json --result {tmp_path}/result.json"
    monkeypatch.setattr(sys, "argv", command.split())
    grpo.evaluate.main()
    failure = json.loads((tmp_path / "result.json").read_text())["failure"]
    assert failure["kind"] == "bad_checkpoint"
    assert reason in failure["reason"] and "\n" not in failure["reason"]


def test_the_evaluator_uses_nothing_but_the_weights(
    grpo: SimpleNamespace, data: Path, size: dict, tmp_path: Path
) -> None:
    """A config, tokenizer or module in the checkpoint has no effect."""
    model = data / "train" / "model"
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "problems.py"):
        (tmp_path / name).write_text("raise SystemExit('read')")
    scores = [grpo.evaluate.evaluate(data / "evaluator", folder, "test", 1, size) for folder in (model, tmp_path)]
    assert scores[0] == scores[1]


def test_the_evaluator_imports_no_evolvable_file() -> None:
    evolvable = yaml.safe_load((ROOT / "conf" / "baseline" / "grpo.yaml").read_text())["evolvable"]
    command = "import evaluate, prepare, sys; print(*sorted(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", command], cwd=GRPO, capture_output=True, text=True, check=True)
    loaded = set(printed.stdout.split())
    assert {"models", "sampling", "problems"} <= loaded
    assert not loaded & {name.removesuffix(".py") for name in evolvable}
    assert not loaded & {"datasets", "pandas", "math_verify", "vllm"}  # slow to import; tiny does not use them


# --- the idea bank --------------------------------------------------------------------------------------------------

IDEAS = sorted(path.stem for path in (GRPO / "ideas").glob("*.diff"))
RANGES = yaml.safe_load((GRPO / "ideas" / "settings.yaml").read_text())["ranges"]
BASELINE = yaml.safe_load((ROOT / "conf" / "baseline" / "grpo.yaml").read_text())


def gradients(
    modules: SimpleNamespace, data: Path, output: Path, size: dict, microbatch: int, monkeypatch: pytest.MonkeyPatch
) -> list[torch.Tensor]:
    """The gradient of each update of one training step, before clipping."""
    found: list[torch.Tensor] = []
    clip = torch.nn.utils.clip_grad_norm_

    def watching(parameters, max_norm: float) -> torch.Tensor:
        held = [weight for weight in parameters if weight.grad is not None]
        found.append(torch.cat([weight.grad.flatten() for weight in held]).clone())
        return clip(held, max_norm)

    settings = {"rollouts": 64, "minibatch": 32, "epochs": 2, "microbatch": microbatch}
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", watching)
        train(modules, data, output, size | {"settings": settings})
    return found


@pytest.mark.parametrize("name", ["baseline", *IDEAS])
def test_microbatches_change_no_gradient_of_an_idea(
    grpo: SimpleNamespace, data: Path, size: dict, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`microbatch` limits memory and does not affect results, whatever the idea: 1 and 4 microbatches give the same
    gradient."""
    grpo.measure.make_variant(name, tmp_path / "variant", "Tiny")
    with code(tmp_path / "variant") as modules:
        whole, parts = (gradients(modules, data, tmp_path / str(rows), size, rows, monkeypatch) for rows in (32, 8))
    assert len(whole) == len(parts) == 4
    assert whole[0].norm() > 0  # later ones are zero if an idea clips every answer
    for one, other in zip(whole, parts, strict=True):
        assert (one - other).norm() <= 0.01 * one.norm()


@pytest.mark.parametrize("name", IDEAS)
def test_an_idea_applies_touches_evolvable_files_only_and_trains(
    grpo: SimpleNamespace, data: Path, size: dict, tmp_path: Path, name: str
) -> None:
    variant = tmp_path / "variant"
    grpo.measure.make_variant(name, variant, "Tiny")
    changed = {file.name for file in GRPO.glob("*.py") if file.read_bytes() != (variant / file.name).read_bytes()}
    assert changed and changed <= set(BASELINE["evolvable"])
    assert {path.name for path in variant.iterdir()} == {
        path.name for path in GRPO.iterdir() if path.name not in ("ideas", "__pycache__")
    }

    whole = size | {"resume_every_s": 0, "settings": {"rollouts": 64, "minibatch": 16, "microbatch": 8}}
    with code(variant) as modules:
        for budget in ("steps=1", "steps=2"):  # the second resumes from the first
            output = train(modules, data, tmp_path / "output", whole, budget=budget)
            (output / "checkpoint").rename(tmp_path / budget)
    rows = metrics(output)
    assert [row["step"] for row in rows] == [1, 2]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    grpo.models.load_checkpoint(tmp_path / "steps=2", data / "evaluator" / "model", torch.device("cpu"), torch.float32)


def test_the_bank_is_described() -> None:
    words = {name: yaml.safe_load((GRPO / "ideas" / f"{name}.yaml").read_text()) for name in IDEAS}
    assert len(words) >= 12
    assert all(set(one) == {"title", "text", "why", "source"} and all(one.values()) for one in words.values())
    assert len({one["title"] for one in words.values()}) == len(words)
    assert {path.stem for path in (GRPO / "ideas").glob("*.yaml")} == {*IDEAS, "settings"}


def test_an_idea_changes_all_scales_equally(grpo: SimpleNamespace, tmp_path: Path) -> None:
    for name in IDEAS:
        grpo.measure.make_variant(name, tmp_path / name, "Tiny")
        with code(tmp_path / name) as modules:
            names = [set(vars(one())) for one in modules.settings.SCALES.values()]
        assert names[0] == names[1] == names[2], name


def values_of(setting: str, now: float) -> list[float]:
    """Both ends of a range, or all choices."""
    change = RANGES[setting]
    return change["choices"] if "choices" in change else [now * factor for factor in change["factor"]]


@pytest.mark.parametrize("setting", sorted(RANGES))
def test_every_change_of_a_setting_changes_the_first_step(
    grpo: SimpleNamespace,
    data: Path,
    size: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
) -> None:
    monkeypatch.setattr(grpo.clock.Budget, "over", lambda budget, step: step == 1)  # the first of 12 steps
    now = vars(grpo.settings.Tiny())[setting]
    values = [value for value in values_of(setting, now) if value != now]
    assert values
    assert_directions_are_explained(RANGES[setting], now, values)
    size = size | {"settings": {"rollouts": 128, "minibatch": 64}}
    first = []
    for number, value in enumerate([now, *values]):
        size["settings"][setting] = value
        row = metrics(train(grpo, data, tmp_path / str(number), size, budget="steps=12"))[0]
        first.append(tuple(row[name] for name in row if name != "learning_rate"))  # it is only reported
    assert len(set(first)) == len(first)


def assert_directions_are_explained(change: dict, now: float, values: list) -> None:
    """Every value that can be drawn has a text for its direction; one text for both directions cannot be right."""
    assert "why" not in change
    assert all(change["higher" if value > now else "lower"] for value in values)
    assert change["higher"] != change["lower"]


def test_most_pairs_of_ideas_merge(grpo: SimpleNamespace, tmp_path: Path) -> None:
    clean, pairs = grpo.measure.pairs_that_merge(tmp_path)
    assert pairs == len(IDEAS) * (len(IDEAS) - 1) / 2
    assert clean >= 0.6 * pairs
