"""The root of the errors that a user can act on."""


class StorelakeError(Exception):
    """Something expected went wrong; the message is one sentence that names the next step.

    The command line prints it without a traceback and ends with exit code 1.
    """


class ContractError(StorelakeError):
    """A file that is no contract, or contracts that break a promise; the message says which."""
