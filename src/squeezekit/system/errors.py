"""The two ways in which a command can fail; `cli` turns them into exit codes in one place."""

import copyreg
from typing import Any


class SqueezekitError(Exception):
    """Wrong usage or input (exit code 2). The message is one sentence: what, where, what to do."""

    exit_code = 2

    def __reduce__(self) -> tuple[Any, ...]:
        """How another process gets it: some of its kinds are made of more than the sentence, which is all that is kept."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class RunFailed(SqueezekitError):
    """The input was fine but the work failed: a diverged run, unreadable images (exit code 1)."""

    exit_code = 1
