"""Errors that are shown to the user. A problem with a candidate is not an error but a `Failure`."""


class GroundworkError(Exception):
    """One line for the user: what was found, what is allowed, what to type next."""

    exit_code = 1


class BadInput(GroundworkError):
    """The command, the configuration or a file by the user is invalid."""

    exit_code = 2


class CannotContinue(GroundworkError):
    """The run has to stop, e.g. for a full disk, a damaged file, or a lock held by another controller."""


class Damaged(CannotContinue):
    """A file of a run folder has invalid content."""


class ClusterRefused(CannotContinue):
    """The cluster accepted no job this time; submitting again later may work."""


class SandboxFailed(CannotContinue):
    """The sandbox of a command could not be created, or was killed: an infrastructure fault."""
