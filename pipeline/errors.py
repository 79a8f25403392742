"""What can go wrong for the person at the terminal. A trouble of a candidate is not here: it is a `Failure`."""


class GroundworkError(Exception):
    """One line for a person: what was seen, what is allowed, what to type next."""

    exit_code = 1


class BadInput(GroundworkError):
    """The command, the configuration or a file the user wrote cannot be used."""

    exit_code = 2


class CannotContinue(GroundworkError):
    """The run has to stop here: a full disk, a damaged file, another controller holds it."""


class Damaged(CannotContinue):
    """A file of a run folder cannot be read as what it should be."""


class ClusterRefused(CannotContinue):
    """The cluster took no job this time; submitting again later may work."""


class SandboxFailed(CannotContinue):
    """The sandbox of a command could not be made, or was killed. Nobody is to blame but the machine."""
