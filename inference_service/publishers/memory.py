"""Keeps events in memory: for tests and dry runs."""

from __future__ import annotations

from inference_service.publishers import PublishError


class MemoryEventPublisher:
    """A list of what was published.

    Attributes:
        messages: (key, value) pairs in order.
        closed: whether `close` was called.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.closed = False

    @property
    def delivered(self) -> int:
        """All that was published."""
        return len(self.messages)

    def publish(self, key: bytes, value: bytes) -> None:
        """Append to `messages`."""
        if self.closed:
            raise PublishError("The publisher is closed.")
        self.messages.append((key, value))

    def flush(self) -> None:
        """Nothing is ever pending."""

    def close(self) -> None:
        """Take no more."""
        self.closed = True
