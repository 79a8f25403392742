"""Which objective should the ideator learn with, and does learning improve search? SIMULATED executions (`world.py`);
the policy, its sampling, the rewards, the objectives and the update are those of the program.

python -m tests.benchmarks.rl.study [ARM …] [--seeds 10] [--steps 100] runs what is missing, one line per seed python -m
tests.benchmarks.rl.study --table the table and the plot of the documentation

Every arm executes the same number of ideas. Each seed is a world of its own, the same for all arms.
"""

import argparse
import copy
import json
import math
import random
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from pipeline.config import Objective, RlConfig
from pipeline.makers.proposals import read_proposals
from pipeline.records import Sample
from pipeline.rl.batch import Outcome, lessons
from pipeline.rl.policy import Policy
from pipeline.rl.sample import sample
from pipeline.rl.tiny import make_policy, supervise
from pipeline.rl.update import Adam, Row, update
from pipeline.rl.words import parts_of, prompt_text
from tests.benchmarks.rl.world import Table, World, final_words

RESULTS = Path(__file__).with_name("results.jsonl")
PLOT = Path(__file__).parents[3] / "docs/pictures/rl_study.svg"
SHOWN = ("mean", "max_at_k", "max_at_k + 3 × penalty", "best of N", "evolution", "evolution + max_at_k + penalty")
"""Arms of the plot."""
GROUP = 64
"""Ideas per step."""
PARENTS = 4
"""With the archive as state: prompts per step, each with a share of the group."""
LAST = 10
"""Number of last steps that a mean is taken over."""
EVERY, EARLY = 5, 5
"""Steps between the values of a curve, and the step whose best-so-far the table also shows."""
LATE, LOST = 0.30, 0.05
"""With late rewards: the share that arrives a step late, and the share that never arrives."""


RATE = 1e-3
"""Learning rate of all weights of the tiny policy. With the archive as state, whose groups are a quarter as large, it
is a third of this; with all of it, the policy collapsed to answers without an idea."""
PENALTY = 1.0
"""`rl.penalty` of the arms that use one."""


@dataclass(frozen=True)
class Arm:
    """One way to search."""

    objective: Objective | None = None
    """None: the policy never learns."""
    penalty: float = 0.0
    late: bool = False
    archive: bool = False
    """Whether ideas build on the best of the archive."""
    transfer: bool = False
    """Whether the policy has already learned on another world, which is not counted."""


ARMS = {
    "mean": Arm(Objective.mean),
    "mean + penalty": Arm(Objective.mean, PENALTY),
    "max_at_k": Arm(Objective.max_at_k),
    "max_at_k + penalty": Arm(Objective.max_at_k, PENALTY),
    "max_at_k + 3 × penalty": Arm(Objective.max_at_k, 3 * PENALTY),
    "entropic": Arm(Objective.entropic),
    "entropic + penalty": Arm(Objective.entropic, PENALTY),
    "best of N": Arm(),
    "evolution": Arm(archive=True),
    "evolution + max_at_k + penalty": Arm(Objective.max_at_k, PENALTY, archive=True),
    "evolution + mean": Arm(Objective.mean, archive=True),
    "mean, late": Arm(Objective.mean, late=True),
    "max_at_k + penalty, late": Arm(Objective.max_at_k, PENALTY, late=True),
    "evolution, transferred policy": Arm(archive=True, transfer=True),
    "max_at_k + penalty, transferred policy": Arm(Objective.max_at_k, PENALTY, transfer=True),
}


@dataclass
class Step:
    """The samples of one step, and their rewards."""

    samples: list[Sample]
    ideas: list[frozenset[str]]
    prompts: list[str]
    rewards: list[float | None]
    """Rewards as they are in the end."""
    comes: list[int]
    """The first update that has each reward."""
    seen: list[int] = field(default_factory=list)
    learned: set[int] = field(default_factory=set)


class Search:
    """One arm in one world."""

    def __init__(self, arm: Arm, world: World, policy: Policy, seed: int) -> None:
        self.arm, self.world = arm, world
        self.policy = replace(policy, model=copy.deepcopy(policy.model))
        self.rl = RlConfig(
            objective=arm.objective or Objective.mean,
            penalty=arm.penalty,
            new_tokens=32,
            learning_rate=RATE / 3 if arm.archive else RATE,
        )
        self.engine = Adam(self.policy.model, self.rl)
        self.rng = random.Random(seed)
        self.steps: list[Step] = []
        self.times: Counter[frozenset[str]] = Counter()
        self.scores: dict[frozenset[str], float] = {}
        """The reward of each code: a code that is sampled again is not executed again."""

    def step(self) -> dict[str, float]:
        """Sample, execute and learn once. Returns the measurements, computed without noise."""
        now = len(self.steps)
        parents = self._parents()
        prompts = [prompt_text(sorted(parents[n * len(parents) // GROUP])) for n in range(GROUP)]
        samples = sample(self.policy, prompts, self.rl, self.rng.randrange(2**31))
        inherited = [parents[n * len(parents) // GROUP] for n in range(GROUP)]
        ideas = [_idea(one, parent) for one, parent in zip(samples, inherited, strict=True)]
        rewards = [self._execute(idea) for idea in ideas]
        comes = [now if not self.arm.late else now + self._delay() for _ in ideas]
        seen = [self.times[idea] for idea in ideas]
        self.steps.append(Step(samples, ideas, prompts, rewards, comes, seen))
        self.times.update(ideas)
        values = [self.world.value(idea) or 0.0 for idea in ideas]
        if self.arm.objective is not None:
            self._learn(now)
        common = Counter(ideas).most_common(1)[0][1]
        return {
            "mean": statistics.fmean(values),
            "best": max(values),
            "distinct": len(set(ideas)),
            "share": common / GROUP,
            "entropy": statistics.fmean(one.entropy for one in samples),
            "thinking": statistics.fmean(one.thinking for one in samples),
        }

    def _parents(self) -> list[frozenset[str]]:
        """The best codes of the archive by the single score of each; the baseline at first."""
        if not self.arm.archive or not self.scores:
            return [frozenset()]
        best = sorted(self.scores, key=lambda idea: (-self.scores[idea], sorted(idea)))
        return best[:PARENTS]

    def _execute(self, idea: frozenset[str]) -> float | None:
        if idea not in self.scores:
            reward = self.world.execute(idea)
            if reward is None:
                return None
            self.scores[idea] = reward
        return self.scores[idea]

    def _delay(self) -> int:
        draw = self.rng.random()
        return 1 if draw < LATE else 10**9 if draw < LATE + LOST else 0

    def _learn(self, now: int) -> None:
        first = max(0, now - self.rl.staleness)
        steps = [(number, self._outcomes(self.steps[number], now)) for number in range(first, now + 1)]
        rows = []
        for lesson in lessons(steps, now, self.rl):
            of = self.steps[lesson.step]
            of.learned.add(lesson.number)
            one = of.samples[lesson.number]
            rows.append(Row(one.prompt, one.tokens, one.logprobs, lesson.advantage))
        if any(row.advantage for row in rows):
            update(self.policy, self.engine, rows, self.rl, self.rng)

    def _outcomes(self, step: Step, now: int) -> list[Outcome]:
        return [
            Outcome(
                " ".join(sorted(step.ideas[n])),
                step.rewards[n] if step.comes[n] <= now else None,
                step.prompts[n],
                step.seen[n],
                n in step.learned,
            )
            for n in range(GROUP)
        ]


def _idea(one: Sample, parent: frozenset[str]) -> frozenset[str]:
    """The words of the code that an answer stands for."""
    proposals = read_proposals(one.text)
    return final_words([*sorted(parent), *parts_of(proposals[0].text)]) if proposals else frozenset()


def run(arm: Arm, seed: int, steps: int, policy: Policy, table: Table) -> list[dict[str, float]]:
    """The measurements of every step, and the best found so far."""
    if arm.transfer:
        first = replace(arm, objective=Objective.max_at_k, penalty=PENALTY, transfer=False)
        before = Search(first, World(table, 1000 + seed), policy, seed)
        for _ in range(steps):
            before.step()
        policy = before.policy
    search, best, found = Search(arm, World(table, seed), policy, seed), 0.0, []
    for _ in range(steps):
        measures = search.step()
        best = max(best, measures["best"])
        found.append({**measures, "found": best})
    return found


def main() -> None:
    made = argparse.ArgumentParser()
    made.add_argument("arms", nargs="*", help=f"some of: {'; '.join(ARMS)}")
    made.add_argument("--seeds", type=int, default=10)
    made.add_argument("--steps", type=int, default=100)
    made.add_argument("--table", action="store_true")
    given = made.parse_args()
    if given.table:
        for line in table_lines(list(results())):
            print(line)
        draw(list(results()))
        return
    torch.set_num_threads(1)
    table = Table.read()
    words = table.words()
    policy = make_policy(words, 0)
    supervise(policy, words, 600, 0)
    done = {(one["arm"], one["seed"], one["steps"]) for one in results()}
    for seed in range(given.seeds):
        for name in given.arms or ARMS:
            if (name, seed, given.steps) not in done:
                found = result(name, seed, run(ARMS[name], seed, given.steps, policy, table))
                with RESULTS.open("a") as file:
                    file.write(json.dumps(found) + "\n")
                print(name, seed, {key: round(value, 3) for key, value in found["end"].items()}, flush=True)


def result(name: str, seed: int, measures: Sequence[dict[str, float]]) -> dict:
    """A line of the results: the mean of the last steps, and every fifth for the plot."""
    last = measures[-LAST:]
    end = {key: statistics.fmean(one[key] for one in last) for key in last[0]}
    curves = {key: [round(one[key], 4) for one in measures[::EVERY]] for key in ("mean", "best", "found", "share")}
    end["found"] = measures[-1]["found"]
    return {"arm": name, "seed": seed, "steps": len(measures), "end": end, "curves": curves}


def results() -> Iterator[dict]:
    """Results so far."""
    if RESULTS.exists():
        yield from map(json.loads, RESULTS.read_text().splitlines())


def table_lines(lines: list[dict]) -> Iterator[str]:
    """Means over seeds with 95 % intervals (t), and differences of the best of a batch to `mean` and to `evolution` on the
    same seeds."""
    head = ("arm (simulated)", "seeds", "mean of a batch", "best of a batch", f"found by step {EARLY}", "best found")
    more = ("distinct of 64", "commonest", "best of a batch − `mean`", "best of a batch − `evolution`")
    yield f"| {' | '.join((*head, *more))} |"
    yield "|---" * len((*head, *more)) + "|"
    for name in ARMS:
        runs = {one["seed"]: one for one in lines if one["arm"] == name}
        if runs:
            yield f"| {name} | {' | '.join(_cells(runs, lines))} |"


def _cells(runs: dict[int, dict], lines: list[dict]) -> Iterator[str]:
    """One arm's row, without its name. `runs` are by seed."""
    ends = [one["end"] for one in runs.values()]
    yield str(len(runs))
    yield from (_interval([one[key] for one in ends]) for key in ("mean", "best"))
    yield _interval([one["curves"]["found"][EARLY // EVERY] for one in runs.values()])
    yield _interval([one["found"] for one in ends])
    yield _interval([one["distinct"] for one in ends], 0)
    yield f"{_interval([100 * one['share'] for one in ends], 0)} %"
    for other in ("mean", "evolution"):
        best = {one["seed"]: one["end"]["best"] for one in lines if one["arm"] == other}
        yield _interval([one["end"]["best"] - best[seed] for seed, one in runs.items() if seed in best])


def draw(lines: list[dict]) -> None:
    """Plot the means over seeds of the best of a batch and of the share of the most frequent idea, for the page with
    the table."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "study"  # the same results give the same picture
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name in SHOWN:
        curves = [one["curves"] for one in lines if one["arm"] == name]
        for axis, key in zip(axes, ("best", "share"), strict=True):
            means = [statistics.fmean(at) for at in zip(*(one[key] for one in curves), strict=True)]
            axis.plot([EVERY * number for number in range(len(means))], means, label=name)
    axes[0].set(title="best of a batch (simulated)", xlabel="step", ylabel="accuracy")
    axes[1].set(title="share of the commonest idea (simulated)", xlabel="step")
    axes[0].legend(fontsize=7)
    figure.savefig(PLOT, metadata={"Date": None})


_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t for 95 %, by number of seeds."""


def _interval(values: Sequence[float], digits: int = 3) -> str:
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else "–"
    half = _T.get(len(values), 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.{digits}f} ± {half:.{digits}f}"


if __name__ == "__main__":
    main()
