"""Reads the folders of tasks that are not trials."""

from pipeline.records import TaskResult
from pipeline.store import files
from pipeline.store.paths import TaskPaths, TryPaths, number_of


def tries_of(task: TaskPaths) -> list[TryPaths]:
    """The jobs of a task, in order. A folder without a job is left by a controller that was killed before it submitted."""
    tries = [task.try_(number_of(folder.name)) for folder in files.folders(task.folder, "try")]
    return [one for one in tries if one.job.exists()]


def result_of(paths: TryPaths) -> TaskResult | None:
    """Result of a job: the one it wrote, else the one that the controller declared; none while it is queued or
    running."""
    return files.read_if_there(paths.result, TaskResult) or files.read_if_there(paths.ended, TaskResult)


def finished(task: TaskPaths) -> TryPaths | None:
    """The job that completed a task; none if none has."""
    for paths in reversed(tries_of(task)):
        result = result_of(paths)
        if result is not None and result.failure is None:
            return paths
    return None
