"""The error of this room."""

from conf.errors import StorelakeError


class ServiceError(StorelakeError):
    """A service cannot do its part; the message is one sentence with the next step."""
