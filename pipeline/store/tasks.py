"""Tasks that are no trials: what their folders say."""

from pipeline.records import TaskResult
from pipeline.store import files
from pipeline.store.paths import TaskPaths, TryPaths, number_of


def tries_of(task: TaskPaths) -> list[TryPaths]:
    """The jobs of a task, in order."""
    return [task.try_(number_of(folder.name)) for folder in files.folders(task.folder, "try")]


def result_of(paths: TryPaths) -> TaskResult | None:
    """How a job ended: as it wrote itself, else as the controller declared; none while it waits or runs."""
    return files.read_if_there(paths.result, TaskResult) or files.read_if_there(paths.ended, TaskResult)


def finished(task: TaskPaths) -> TryPaths | None:
    """The job that did a task; none while there is none."""
    for paths in reversed(tries_of(task)):
        result = result_of(paths)
        if result is not None and result.failure is None:
            return paths
    return None
