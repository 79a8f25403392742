"""`serve`: servers of the variant's model beside the evaluator. They are started for it, ended with it, and reported if
they die."""

import signal
import textwrap
from pathlib import Path
from types import FrameType

import pytest

from pipeline.errors import BadInput
from pipeline.job.score import score_checkpoint
from pipeline.records import Failure, FailureKind, Score, Stage
from pipeline.sandbox.auto import kinds
from pipeline.setup.build import data_path
from pipeline.setup.compose import compose_config
from pipeline.setup.create import open_or_create
from pipeline.store.paths import TryPaths
from tests.toy import baseline, jobs_of, processes_with, program, wait_until

SERVE = """
import argparse, os, subprocess, sys, time
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("exchange", "checkpoint", "size"):
    parser.add_argument(f"--{name}", type=Path)
arguments = parser.parse_args()
print("server", arguments.exchange.name, "in", os.getcwd(), "through", arguments.exchange.parent)
#HERE#
while not (arguments.exchange / "question").exists():
    time.sleep(0.01)
(arguments.exchange / "answer.part").write_text(arguments.exchange.name)
(arguments.exchange / "answer.part").rename(arguments.exchange / "answer")
time.sleep(10_000)
"""
EVALUATE = """
import argparse, json, time
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("data", "checkpoint", "split", "seed", "size", "result", "exchange"):
    parser.add_argument(f"--{name}", type=Path)
arguments = parser.parse_args()
#HERE#
answers = []
for server in sorted(arguments.exchange.iterdir()):
    (server / "question").touch()
    while not (server / "answer").exists():
        time.sleep(0.01)
    answers.append((server / "answer").read_text())
arguments.result.write_text(json.dumps({"value": len(answers), "standard_error": 0.1, "n": 1}))
"""
SERVERS = 3


class Bench:
    """A toy baseline with servers, and one checkpoint to score."""

    def __init__(
        self,
        folder: Path,
        serve: str = "",
        evaluate: str = "",
        place: str = "{checkpoint}",
        memory_gb: float = 1.0,
        limit_min: float = 1.0,
        sandbox: str = "auto",
    ) -> None:
        self.folder = folder
        files = {"serve.py": SERVE.replace("#HERE#", serve), "evaluate.py": EVALUATE.replace("#HERE#", evaluate)}
        conf = baseline(folder, files)
        toy = conf / "baseline/toy.yaml"
        words = '["{python}", -S, serve.py, --exchange, "{exchange}", --checkpoint, "PLACE", --size, "{size}"]'
        text = (
            toy.read_text()
            .replace("commands:\n", f"commands:\n  servers: {SERVERS}\n  serve: {words}\n")
            .replace("PLACE", place)
        )
        toy.write_text(text.replace('--result, "{result}"', '--result, "{result}", --exchange, "{exchange}"'))
        where = [f"data={folder}/data", f"runs={folder}/runs", "run=x"]
        limits = [f"train.resources.mem_gb={memory_gb}", f"evaluate.limit_min={limit_min}"]
        given = ["baseline=toy", "scale=tiny", *where, *limits, f"train.sandbox={sandbox}"]
        program("prepare", "--config-dir", str(conf), *given).ok()
        self.config = compose_config(given, conf)
        self.run, _ = open_or_create(self.config)
        self.paths = TryPaths(folder / "try_0")
        self.paths.folder.mkdir()
        self.variant = folder / "variant"
        self.variant.mkdir()
        (self.variant / "serve.py").write_text(files["serve.py"])
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint/model.json").write_text("{}")

    def score(self) -> Score | Failure:
        checkpoint, data = self.folder / "checkpoint", data_path(self.config)
        return score_checkpoint(self.run, self.variant, checkpoint, data, "validation", 0, self.paths)

    def logs(self) -> list[str]:
        return [self.paths.serve_log(number).read_text() for number in range(SERVERS)]

    def nothing_is_left(self) -> None:
        wait_until(lambda: jobs_of(self.folder) == [] and processes_with(str(self.folder)) == [])
        exchange = Path(self.logs()[0].partition(" through ")[2].split("\n")[0])
        assert exchange.name.startswith("exchange-") and not exchange.exists()


def test_each_server_runs_in_the_variant_with_an_exchange_of_its_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    score = bench.score()
    assert isinstance(score, Score) and score.value == SERVERS
    for number, log in enumerate(bench.logs()):
        assert log.startswith(f"server {number} in {bench.variant} through ")
    assert bench.paths.evaluation.is_file() and bench.paths.evaluate_log.read_text() == ""
    bench.nothing_is_left()


@pytest.mark.parametrize("sandbox", ["bubblewrap", "landlock"])
def test_a_server_reaches_neither_the_scorer_nor_another_server(sandbox: str, tmp_path: Path) -> None:
    if trouble := kinds()[sandbox]:
        pytest.skip(trouble)
    data = tmp_path / "data/toy/tiny/evaluator/validation.json"
    attacks = (
        f"open({str(data)!r}).read()",
        "(arguments.exchange.parent / '0/answer').write_text('0')",
        "(arguments.exchange.parent / '1/answer').write_text('1')",
        f"open({str(tmp_path / 'try_0/evaluation.json')!r}, 'w').write('{{}}')",
        "(arguments.checkpoint / 'more.json').write_text('{}')",
    )
    tries = [f"try:\n    {code}\n    print('LOOT', {code!r})\nexcept OSError: pass\n" for code in attacks]
    # Where it succeeds, it is in a folder that only this server has: the scorer has three.
    tries.append("try: (arguments.exchange.parent / '3').mkdir()\nexcept OSError: pass\n")
    attack = "if arguments.exchange.name == '2':\n" + textwrap.indent("".join(tries), "    ")
    bench = Bench(tmp_path, attack, sandbox=sandbox)
    score = bench.score()
    assert isinstance(score, Score) and score.value == SERVERS
    assert "LOOT" not in "".join(bench.logs())
    bench.nothing_is_left()


DEATHS = {
    "raises": ("raise KeyError('no such expert')", FailureKind.EXCEPTION, "exit code 1: KeyError: 'no such expert'"),
    "is killed": ("os.kill(os.getpid(), 9)", FailureKind.EXCEPTION, "killed by signal 9"),
    "eats memory": ("x = bytearray(300_000_000); time.sleep(10_000)", FailureKind.OUT_OF_MEMORY, "its limit is 0.2 GB"),
    "meets a number that is none": ("raise ValueError('loss is nan')", FailureKind.NAN, "loss is nan"),
}


@pytest.mark.parametrize("name", DEATHS)
def test_a_server_that_dies_ends_the_evaluation(name: str, tmp_path: Path) -> None:
    code, kind, words = DEATHS[name]
    bench = Bench(tmp_path, f"if arguments.exchange.name == '1':\n    {code}", memory_gb=0.2)
    failure = bench.score()  # not a timeout, although the evaluator waits forever for an answer
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.kind) == (Stage.EVALUATE, kind) and words in failure.reason
    bench.nothing_is_left()


def test_a_server_that_dies_slowly_is_still_the_reason(tmp_path: Path) -> None:
    """The evaluator notices that a server is gone and ends before the server has given its reason."""
    serve = "if arguments.exchange.name != '1':\n    sys.exit()\n"
    serve += "(arguments.exchange / 'gone').touch()\ntime.sleep(2)\nraise KeyError('no such expert')"
    evaluate = "while not (arguments.exchange / '1/gone').exists():\n    time.sleep(0.01)\n"
    failure = Bench(tmp_path, serve, evaluate + "raise SystemExit('server 1 is gone')").score()
    assert isinstance(failure, Failure)
    assert failure.reason.split("\n")[0] == "exit code 1: KeyError: 'no such expert'"


def test_a_server_that_forks_away_is_ended_too(tmp_path: Path) -> None:
    fork = "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(10_000)'], start_new_session=True)"
    bench = Bench(tmp_path, fork)
    assert isinstance(bench.score(), Score)
    bench.nothing_is_left()


def test_a_failing_evaluator_is_not_blamed_on_the_servers(tmp_path: Path) -> None:
    ends = "time.sleep(1); sys.exit()"
    bench = Bench(tmp_path, ends, evaluate="time.sleep(0.3); raise SystemExit('the shard is truncated')")
    failure = bench.score()
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.reason.split("\n")[0]) == (
        FailureKind.EXCEPTION,
        "exit code 1: the shard is truncated",
    )
    bench.nothing_is_left()


def test_a_late_evaluator_is_late(tmp_path: Path) -> None:
    bench = Bench(tmp_path, serve="time.sleep(10_000)", limit_min=0.02)
    failure = bench.score()
    assert isinstance(failure, Failure) and failure.kind is FailureKind.TIMEOUT
    bench.nothing_is_left()


class JobTerminated(BaseException):
    """The job was told to end."""


def test_the_end_of_the_job_is_the_end_of_the_servers(tmp_path: Path) -> None:
    def tell(number: int, frame: FrameType | None) -> None:
        raise JobTerminated

    bench = Bench(tmp_path, evaluate="time.sleep(10_000)")
    before = signal.signal(signal.SIGALRM, tell)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    try:
        with pytest.raises(JobTerminated):
            bench.score()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    bench.nothing_is_left()


def test_a_placeholder_that_serve_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"\{evaluator_data\} in .* is unknown; allowed here: checkpoint, exchange, python, size"
    ):
        Bench(tmp_path, place="{evaluator_data}").score()
