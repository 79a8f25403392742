"""Each reason to wait is reported once and retried at growing intervals."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import loop
from pipeline.cluster.base import JobStatus, Request
from pipeline.errors import ClusterRefused
from pipeline.llm.base import Trouble
from pipeline.records import Waiting
from pipeline.stages.context import ASKING, POLLING, SUBMITTING, Context
from pipeline.store import files
from tests.benchmarks.__main__ import search_in
from tests.benchmarks.simulated import Clock, SimulatedCluster

FEW = ("ideate.candidates=1", "stop.generations=1")


class Refusing(SimulatedCluster):
    """Refuses jobs, or does not answer queries about them, as long as there is a reason."""

    submitted = asked_by_name = 0
    no_jobs = no_answer = ""

    def submit(self, requests: Sequence[Request], avoid: Sequence[str] = ()) -> Mapping[str, str]:
        self.submitted += 1
        if self.no_jobs:
            raise ClusterRefused(self.no_jobs)
        return super().submit(requests, avoid)

    def poll(self, job_ids: Sequence[str]) -> Mapping[str, JobStatus]:
        if self.no_answer:
            raise ClusterRefused(self.no_answer)
        return super().poll(job_ids)

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        self.asked_by_name += 1
        if self.no_answer:
            raise ClusterRefused(self.no_answer)
        return super().find(names)


class Model:
    """A language model that fails as the test chooses."""

    trouble: Trouble | None = None
    delay: Trouble | None = None


def assert_(true: bool) -> None:
    assert true


def events(context: Context) -> list[str]:
    """The events about waiting."""
    lines = map(json.loads, context.run.paths.events.read_text().splitlines())
    return [f"{line['what']}: {line['detail']}" for line in lines if line["what"].startswith("waiting")]


def waiting(context: Context) -> Waiting | None:
    return files.read_if_there(context.run.paths.waiting, Waiting)


@pytest.fixture
def clock() -> Clock:
    return Clock(1e9)


@pytest.fixture
def cluster(clock: Clock) -> Refusing:
    return Refusing(clock, 2, lambda rng: 10.0)


@pytest.fixture
def context(tmp_path: Path, clock: Clock, cluster: Refusing) -> Context:
    return search_in(tmp_path, clock, cluster, *FEW)


def minute(context: Context, clock: Clock) -> None:
    """A minute of ticks: immediately after a change, else two per second."""
    end, ticks = clock.now + 60, 0
    while clock.now < end:
        loop.tick(context)
        ticks += 1
        clock.now += 0.0 if context.run.reader.changed else 0.5
        assert ticks < 1000, "a tick follows another immediately"


def test_a_cluster_that_accepts_no_jobs_is_retried_rarely_and_reported_once(
    context: Context, clock: Clock, cluster: Refusing
) -> None:
    began = clock.now
    cluster.no_jobs = "Slurm did not take the jobs: Socket timed out on send/recv operation (request 1)"
    minute(context, clock)
    cluster.no_jobs = cluster.no_jobs.replace("1)", "2)")
    minute(context, clock)
    assert cluster.submitted == 4  # after 0, 10, 30 and 70 s
    assert events(context) == [f"waiting: {SUBMITTING}: {cluster.no_jobs.replace('2)', '1)')}"]
    told = waiting(context)
    assert told is not None
    (holdup,) = told.holdups
    assert (holdup.what, holdup.since, holdup.next_at) == (SUBMITTING, began, began + 150)
    cluster.no_jobs = ""
    minute(context, clock)
    assert cluster.spans or context.run.reader.read().in_flight()
    assert events(context)[1:] == [f"waiting is over: {SUBMITTING}, after 150 s"]
    assert waiting(context) is None and context.holdups.open == ()


def test_another_cause_is_reported_and_a_recurring_one_is_not_reported_again(context: Context, clock: Clock) -> None:
    for reason in ("the limit of 10 jobs is reached", "the limit of 12 jobs is reached", "the partition is down"):
        context.holdups.failed(SUBMITTING, reason)
        context.holdups.over(SUBMITTING)
        clock.now += 30
    assert events(context) == [
        f"waiting: {SUBMITTING}: the limit of 10 jobs is reached",
        f"waiting is over: {SUBMITTING}, after 0 s",
        f"waiting: {SUBMITTING}: the partition is down",
        f"waiting is over: {SUBMITTING}, after 0 s",
    ]
    clock.now += 3600
    context.holdups.failed(SUBMITTING, "the partition is down")
    assert events(context)[4:] == [f"waiting: {SUBMITTING}: the partition is down"]


def test_a_cluster_that_does_not_answer_queries_about_jobs(context: Context, clock: Clock, cluster: Refusing) -> None:
    for _ in range(3):
        loop.tick(context)
    cluster.no_answer = "squeue failed: Unable to contact slurm controller"
    minute(context, clock)
    cluster.no_answer = ""
    minute(context, clock)  # a cluster that does not answer reports the last known states
    assert [one.what for one in context.holdups.open] == [POLLING]
    minute(context, clock)
    minute(context, clock)
    assert events(context)[0] == f"waiting: {POLLING}: squeue failed: Unable to contact slurm controller"
    assert len(events(context)) == 2 and waiting(context) is None


def test_jobs_of_a_killed_controller_are_queried_rarely_while_the_cluster_does_not_answer(
    context: Context, clock: Clock, cluster: Refusing
) -> None:
    for _ in range(3):
        loop.tick(context)
    (one, *_) = context.run.reader.read().in_flight()
    context.run.replace(one.paths.job, replace(one.job, job_id=None))  # it was killed before it wrote the job id
    cluster.no_answer = "squeue failed: Unable to contact slurm controller"
    minute(context, clock)
    minute(context, clock)
    assert cluster.asked_by_name == 4  # after 0, 10, 30 and 70 s
    assert events(context) == [f"waiting: {POLLING}: {cluster.no_answer}"]
    cluster.no_answer = ""
    minute(context, clock)
    assert cluster.asked_by_name == 5 and waiting(context) is None
    assert all(tried.job.job_id is not None for tried in context.run.reader.read().in_flight())


def test_an_unavailable_language_model(context: Context, clock: Clock) -> None:
    model = Model()
    context.__dict__["model"] = model
    silent = "openai/default does not answer (Connection error.)"
    for wait_s in (1, 2, 4):
        model.delay = Trouble(silent, clock.now + wait_s)
        context.note_model()
        clock.now += wait_s
    model.trouble = Trouble(silent, clock.now + 120)
    context.note_model()
    (holdup,) = context.holdups.open
    assert (holdup.what, holdup.since, holdup.next_at) == (ASKING, clock.now - 7, clock.now + 120)
    model.trouble, clock.now = None, clock.now + 120
    context.note_model()
    assert len(context.holdups.open) == 1  # asked again, no answer yet
    context.__dict__.pop("holdups")  # the next process has asked, and waits for the answer
    answered, began, delay = threading.Event(), clock.now, model.delay
    context.background.start("ideas", lambda: assert_(answered.wait(60)))
    for model.delay in (None, None, delay, None):
        context.note_model()
        clock.now += 10
        assert len(context.holdups.open) == 1
    clock.now = began
    answered.set()
    context.background.close()
    model.delay = None
    context.note_model()
    assert events(context) == [f"waiting: {ASKING}: {silent}", f"waiting is over: {ASKING}, after 127 s"]


def test_the_next_process_repeats_no_message_and_retries_immediately(
    context: Context, clock: Clock, cluster: Refusing
) -> None:
    """As from cron, every few minutes."""
    cluster.no_jobs = "the partition is down"
    for _ in range(3):
        context.__dict__.pop("holdups", None)
        loop.once(context, lambda archive: None)
        clock.now += 5
    assert cluster.submitted == 3 and len(events(context)) == 1


def test_once_does_not_wait_for_an_unavailable_model(context: Context, clock: Clock) -> None:
    model = Model()
    context.__dict__["model"] = model
    model.delay = Trouble("no answer", clock.now + 60)

    def propose() -> None:
        context.background.stopping.wait(60)

    context.background.start("ideas", propose)
    ticks = 0

    def wait(_: Context) -> None:
        nonlocal ticks
        ticks, clock.now = ticks + 1, clock.now + 5

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "wait", wait)
        loop.once(context, lambda archive: None)
    context.background.close()
    assert context.holdups.lasts(ASKING, 20) and 4 <= ticks < 20
