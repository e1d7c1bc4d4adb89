"""The root of the errors that a user can act on."""


class StorelakeError(Exception):
    """Something expected went wrong; the message is one sentence that names the next step.

    The command line prints it without a traceback and ends with exit code 1.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the name of its type where it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def database_down(database: str, error: BaseException) -> str:
    """The sentence for a database (`Postgres at 127.0.0.1:5432`) that does not answer."""
    return (
        f"{database} does not answer ({first_line(error)}): run `storelake up`, or check "
        "STORELAKE_POSTGRES__HOST, __PORT and __PASSWORD."
    )


class ContractError(StorelakeError):
    """A file that is no contract, or contracts that break a promise; the message states which."""


class KafkaUnavailableError(Exception):
    """Kafka could not be read or written; the message names the brokers or the topic, and why."""
