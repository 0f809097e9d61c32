"""The one error tree of ragrid, with the exit code that each branch gives the command line.

    RagridError            1   something was tried and failed
    ├── UsageError         2   the command was called wrongly
    ├── SpecError          3   the grid file is wrong; only the user can mend it (all faults at once)
    ├── ConflictError      4   stale plan, held lock, lost compare-and-set
    │   └── LeaseLostError     a registry lease ended before it was renewed
    ├── UnreachableError   5   a part or program that is needed does not answer
    ├── StateError         1   the state directory is not what we left there; never overwritten
    ├── MissingError       1   a program, package or file that is needed is not here
    └── AuthError          1   a token or credential is not good enough

A command that did some of what it was asked and failed at the rest ends with PARTLY_DONE; it has said which.
A message says where, what came, what was wanted and what to do next; lower case, values in repr, no secrets.
"""

from collections.abc import Sequence

#: Exit code of a command that went on after a failure: some is done, and the same command again does the rest.
PARTLY_DONE = 6


class RagridError(Exception):
    """Something ragrid tried has failed; the message ends with what to do next."""

    exit_code = 1


class UsageError(RagridError):
    """The command line was called wrongly."""

    exit_code = 2


class SpecError(RagridError):
    """The grid file is wrong; only the user can mend it. `faults` holds one line for each fault, in file order."""

    exit_code = 3

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class ConflictError(RagridError):
    """The world moved, or somebody else holds the lock."""

    exit_code = 4


class LeaseLostError(ConflictError):
    """A registry lease ended before it was renewed; register again."""


class UnreachableError(RagridError):
    """A part or a program that is needed does not answer."""

    exit_code = 5


class StateError(RagridError):
    """The state directory holds something that we did not leave there; it is never overwritten."""


class MissingError(RagridError):
    """A program, package or file that is needed is not on this machine."""


class AuthError(RagridError):
    """A token or credential is missing, wrong, or does not allow what was asked."""
