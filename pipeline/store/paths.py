"""All paths inside a run folder. No other module of the program builds them.

runs/NAME/
  run.json manifest.json derived.json live.json controller.json pause.json waiting.json notified.json
  events.jsonl report.json account.json
  alarms/alarm_0/{alarm,verdict}.json   failures that looked like an infrastructure fault
  code/{baseline,ideas,pipeline}/ size.json
  baseline/trial_0/ …
  guidance.md                   a user's guidance for the ideator; copied into the generation that used it
  proposals/NAME.json           ideas by users and elites of other runs, for the next generation
  marks/generation_000/candidate_003.json   whether a user pinned or banned a candidate
  llm/PURPOSE-HASH/             prompt.json sample_0.json …
  policy/step_000/{step,measures}.json checkpoint/ {sample,update}/task.json try_0/{job,claim,result}.json output/
  generation_000/{parents,selection,account,summary}.json guidance.md lessons.md
    candidate_000/{idea,failure}.json
      attempt_0/{patch.diff,implement.json,smoke.json,failure.json,smoke.log} variant/
        trial_0/{score,failure}.json
          try_0/{job,claim,result,ended,spoiled}.json train.log evaluate.log serve_0.log
            output/{metrics.jsonl,checkpoint/,resume/}
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TryPaths:
    """Files of one try, which is one job."""

    folder: Path

    @property
    def job(self) -> Path:
        return self.folder / "job.json"

    @property
    def claim(self) -> Path:
        return self.folder / "claim.json"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    @property
    def ended(self) -> Path:
        """The end that the controller declares for a try whose job is gone and wrote no result. A result that the job
        writes later replaces it."""
        return self.folder / "ended.json"

    @property
    def spoiled(self) -> Path:
        """An infrastructure fault found after the result; it counts instead of the result."""
        return self.folder / "spoiled.json"

    @property
    def train_log(self) -> Path:
        return self.folder / "train.log"

    @property
    def rendezvous(self) -> Path:
        """Where the ranks of several nodes meet."""
        return self.folder / "rendezvous.json"

    def node(self, number: int) -> Path:
        """How the training ended on one of several nodes."""
        return self.folder / f"node_{number}.json"

    def node_log(self, number: int) -> Path:
        """`train.log` for the first node, which reports for all; a separate log for each other node."""
        return self.folder / f"train_{number}.log" if number else self.train_log

    @property
    def evaluate_log(self) -> Path:
        return self.folder / "evaluate.log"

    def serve_log(self, number: int) -> Path:
        """Output of one of the servers of the variant's model."""
        return self.folder / f"serve_{number}.log"

    @property
    def evaluation(self) -> Path:
        """What the evaluator writes."""
        return self.folder / "evaluation.json"

    @property
    def output(self) -> Path:
        """All that the variant can write."""
        return self.folder / "output"

    @property
    def metrics(self) -> Path:
        return self.output / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.output / "checkpoint"

    @property
    def resume(self) -> Path:
        return self.output / "resume"

    @property
    def samples(self) -> Path:
        """Samples written by a sampling task of the policy."""
        return self.output / "samples.json"

    @property
    def optimizer(self) -> Path:
        """Folder with the optimizer state written by an update task of the policy."""
        return self.output / "optimizer"

    @property
    def update_measures(self) -> Path:
        """Measures of an update on several ranks; its first rank writes them last."""
        return self.output / "measures.json"

    def rank_failure(self, rank: int) -> Path:
        """Why an update failed on one of several ranks."""
        return self.output / f"failure_{rank}.json"

    @property
    def trial(self) -> "TrialPaths":
        return TrialPaths(self.folder.parent)


@dataclass(frozen=True, slots=True)
class TrialPaths:
    """Files of one trial: one training and scoring with one seed."""

    folder: Path

    @property
    def score(self) -> Path:
        return self.folder / "score.json"

    @property
    def failure(self) -> Path:
        return self.folder / "failure.json"

    def old_failure(self, number: int) -> Path:
        """A failure that was withdrawn."""
        return self.folder / f"failure_{number}.json"

    def try_(self, number: int) -> TryPaths:
        return TryPaths(self.folder / f"try_{number}")

    def named(self, name: str) -> TryPaths:
        """The try that a record names, e.g. `try_0`."""
        return TryPaths(self.folder / name)

    def earlier(self, name: str) -> TryPaths:
        """The try that `Job.resume_from` names: `try_0` of this trial, or `trial_0/try_0` of another of the same code."""
        return TryPaths((self.folder.parent if "/" in name else self.folder) / name)

    @property
    def variant(self) -> Path | None:
        """The code it trains: `variant/` of its attempt, or none for trials of the baseline."""
        holder = self.folder.parent
        return holder / "variant" if holder.name.startswith("attempt_") else None


@dataclass(frozen=True, slots=True)
class AttemptPaths:
    """Files of one attempt. Also used for the baseline's trials, with `RUN/baseline` as folder."""

    folder: Path

    @property
    def patch(self) -> Path:
        return self.folder / "patch.diff"

    @property
    def implementation(self) -> Path:
        return self.folder / "implement.json"

    @property
    def variant(self) -> Path:
        return self.folder / "variant"

    @property
    def smoke(self) -> Path:
        return self.folder / "smoke.json"

    @property
    def smoke_log(self) -> Path:
        return self.folder / "smoke.log"

    @property
    def failure(self) -> Path:
        return self.folder / "failure.json"

    def old_failure(self, number: int) -> Path:
        return self.folder / f"failure_{number}.json"

    def trial(self, number: int) -> TrialPaths:
        return TrialPaths(self.folder / f"trial_{number}")


@dataclass(frozen=True, slots=True)
class CandidatePaths:
    """Files of one candidate."""

    folder: Path

    @property
    def idea(self) -> Path:
        return self.folder / "idea.json"

    @property
    def failure(self) -> Path:
        return self.folder / "failure.json"

    def old_failure(self, number: int) -> Path:
        return self.folder / f"failure_{number}.json"

    def attempt(self, number: int) -> AttemptPaths:
        return AttemptPaths(self.folder / f"attempt_{number}")


@dataclass(frozen=True, slots=True)
class PromptPaths:
    """Files of one prompt to a language model and its answers."""

    folder: Path

    @property
    def prompt(self) -> Path:
        return self.folder / "prompt.json"

    def sample(self, number: int, settings: str = "") -> Path:
        """One of several answers to the same prompt; with settings, an unusable answer under these settings."""
        return self.folder / f"sample_{number}{'-' if settings else ''}{settings}.json"


@dataclass(frozen=True, slots=True)
class AlarmPaths:
    """Files of one alarm: failures that look like an infrastructure fault."""

    folder: Path

    @property
    def alarm(self) -> Path:
        return self.folder / "alarm.json"

    @property
    def verdict(self) -> Path:
        return self.folder / "verdict.json"


@dataclass(frozen=True, slots=True)
class ProbePaths:
    """Files that `pipeline doctor` exchanges with a compute node, in a temporary folder beside the runs."""

    folder: Path

    @property
    def question(self) -> Path:
        return self.folder / "question.json"

    @property
    def seen(self) -> Path:
        return self.folder / "seen.json"

    @property
    def jobs(self) -> Path:
        return self.folder / "jobs"


@dataclass(frozen=True, slots=True)
class TaskPaths:
    """Files of one task that is not a trial. Its jobs run one after another until one succeeds."""

    folder: Path

    @property
    def task(self) -> Path:
        return self.folder / "task.json"

    def try_(self, number: int) -> TryPaths:
        return TryPaths(self.folder / f"try_{number}")


@dataclass(frozen=True, slots=True)
class PolicyPaths:
    """Files of one step of the ideator's policy."""

    folder: Path

    @property
    def step(self) -> Path:
        """Names the checkpoint of the step; closes the step."""
        return self.folder / "step.json"

    @property
    def start(self) -> Path:
        """The first checkpoint of a run, copied from the prepared policy."""
        return self.folder / "checkpoint"

    @property
    def sample(self) -> TaskPaths:
        """The task that samples from this policy."""
        return TaskPaths(self.folder / "sample")

    @property
    def update(self) -> TaskPaths:
        """The task that learns from the samples of this step and makes the next policy."""
        return TaskPaths(self.folder / "update")

    @property
    def measures(self) -> Path:
        return self.folder / "measures.json"


@dataclass(frozen=True, slots=True)
class GenerationPaths:
    """Files of one generation."""

    folder: Path

    @property
    def parents(self) -> Path:
        return self.folder / "parents.json"

    @property
    def selection(self) -> Path:
        return self.folder / "selection.json"

    @property
    def account(self) -> Path:
        """Device hours by candidate, as of the generation's selection."""
        return self.folder / "account.json"

    @property
    def summary(self) -> Path:
        """All records of a settled generation in one file. It is derived, so it may be deleted at any time."""
        return self.folder / "summary.json"

    @property
    def guidance(self) -> Path:
        """A copy of the user's guidance for the ideator, made when the generation opened."""
        return self.folder / "guidance.md"

    @property
    def lessons(self) -> Path:
        """With `ideate.lessons_every`: lessons that a language model drew from the outcomes known when the generation
        opened."""
        return self.folder / "lessons.md"

    def candidate(self, number: int) -> CandidatePaths:
        return CandidatePaths(self.folder / f"candidate_{number:03d}")


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Files of one run."""

    folder: Path

    @property
    def facts(self) -> Path:
        return self.folder / "run.json"

    @property
    def manifest(self) -> Path:
        """Hashes of the files of code and data."""
        return self.folder / "manifest.json"

    @property
    def derived(self) -> Path:
        """The candidate that a rerun or an ablation was derived from; other runs lack the file."""
        return self.folder / "derived.json"

    @property
    def live(self) -> Path:
        return self.folder / "live.json"

    @property
    def controller(self) -> Path:
        """The heartbeat of the controller that holds the run."""
        return self.folder / "controller.json"

    @property
    def pause(self) -> Path:
        """While it exists, nothing new is proposed, implemented or submitted."""
        return self.folder / "pause.json"

    @property
    def waiting(self) -> Path:
        """Exists while something holds the run up. For `status`; never read to decide."""
        return self.folder / "waiting.json"

    @property
    def notified(self) -> Path:
        """With `notify.command`: the notifications sent, and when."""
        return self.folder / "notified.json"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    def old_report(self, number: int) -> Path:
        """A report from before the run was resumed with other limits."""
        return self.folder / f"report_{number}.json"

    @property
    def code(self) -> Path:
        return self.folder / "code"

    @property
    def pristine(self) -> Path:
        """The unmodified baseline."""
        return self.code / "baseline"

    @property
    def ideas(self) -> Path:
        """The idea bank."""
        return self.code / "ideas"

    @property
    def size(self) -> Path:
        return self.code / "size.json"

    @property
    def guidance(self) -> Path:
        """The user's guidance for the ideator."""
        return self.folder / "guidance.md"

    @property
    def proposals(self) -> Path:
        """Proposed ideas: those waiting for the next generation, and those already included in one."""
        return self.folder / "proposals"

    def proposal(self, name: str) -> Path:
        return self.proposals / f"{name}.json"

    @property
    def marks(self) -> Path:
        """Kept apart from the candidates: marks may change at any time, and settled candidates need not be read again
        for them."""
        return self.folder / "marks"

    def mark(self, candidate: str) -> Path:
        """Whether a user pinned or banned the candidate with this id."""
        return self.marks / f"{candidate}.json"

    @property
    def llm(self) -> Path:
        """All prompts and their answers."""
        return self.folder / "llm"

    def prompt(self, key: str) -> PromptPaths:
        """Files of the prompt with this key."""
        return PromptPaths(self.llm / key)

    @property
    def jobs(self) -> Path:
        """submitit's scripts, pickles and logs."""
        return self.folder / "jobs"

    @property
    def policy(self) -> Path:
        """With `ideate=policy`: the steps of reinforcement learning."""
        return self.folder / "policy"

    def policy_step(self, number: int) -> PolicyPaths:
        return PolicyPaths(self.policy / f"step_{number:03d}")

    @property
    def baseline(self) -> AttemptPaths:
        return AttemptPaths(self.folder / "baseline")

    @property
    def alarms(self) -> Path:
        return self.folder / "alarms"

    def alarm(self, number: int) -> AlarmPaths:
        return AlarmPaths(self.alarms / f"alarm_{number}")

    @property
    def account(self) -> Path:
        """Device hours of the run, as of its report."""
        return self.folder / "account.json"

    def generation(self, number: int) -> GenerationPaths:
        return GenerationPaths(self.folder / f"generation_{number:03d}")

    def candidate(self, candidate: str) -> CandidatePaths:
        """By id, e.g. `generation_000/candidate_003`."""
        return CandidatePaths(self.folder / candidate)


def run_of(folder: Path) -> RunPaths | None:
    """The run that contains a folder, or none."""
    for parent in (folder, *folder.parents):
        if (parent / "run.json").is_file():
            return RunPaths(parent)
    return None


def number_of(name: str) -> int:
    """3 for `trial_3` or `…/candidate_003`."""
    return int(name.rpartition("_")[2])


def short(candidate: str) -> str:
    """`g0/c3` for `generation_000/candidate_003`; used in tables and job names."""
    generation, _, name = candidate.partition("/")
    return f"g{number_of(generation)}/c{number_of(name)}" if name else candidate
