"""The two ways in which a command can fail; `cli` turns them into exit codes in one place."""


class SqueezekitError(Exception):
    """Wrong usage or input (exit code 2). The message is one sentence: what, where, what to do."""

    exit_code = 2


class RunFailed(SqueezekitError):
    """The input was fine but the work failed: a diverged run, unreadable images (exit code 1)."""

    exit_code = 1
