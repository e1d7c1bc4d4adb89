"""Settings of all streams: triggers, batches, event time, state, retries."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from conf.settings.base import Frozen, Port


class StreamSettings(Frozen):
    """Settings of all streams (`streaming/runtime/runner.py`)."""

    source: Literal["kafka", "memory"] = "kafka"
    """memory: the log in <var>/memory, for tests and experiments."""
    trigger_seconds: float = Field(default=0.25, ge=0)
    """Minimum interval between two micro-batches of orders; other sources use multiples of it."""
    interval_seconds: float = Field(default=10.0, gt=0)
    """Interval of the tasks that copy gold tables from Postgres to the lake and compute the
    conversion rate."""
    replicate_seconds: float = Field(default=0.25, gt=0)
    """Interval between copies of footfall_minute from Postgres to the lake."""
    niceness: int = Field(default=5, ge=0, le=19)
    """Niceness of `storelake run`, as of nice(1). Cameras, gateway and brokers get the cores first
    where cores are few: a stream catches up, a camera loses frames."""
    max_rows_per_batch: int = Field(default=50_000, ge=1)
    """Maximum number of rows in a micro-batch."""
    max_bytes_per_batch: int = Field(default=32 * 1024 * 1024, ge=1)
    """Maximum size of keys, values and headers in a micro-batch; a larger message is a batch of its
    own. The memory of `storelake run` grows with it."""
    prefetch_rows: int = Field(default=2_000, ge=0)
    """Up to this number of waiting rows the driver reads itself, without a task."""
    returned_rows: int = Field(default=2_500, ge=0)
    """A task with at most so many rows returns them to the driver, which writes them; a task with
    more writes them itself."""
    read_tasks: int = Field(default=2, ge=1)
    """Tasks that read a larger batch from the broker."""
    detections_from: tuple[Literal["kafka", "pulsar"], ...] = Field(
        default=("kafka",), min_length=1
    )
    """Brokers that cameras publish to; the streams read all that are listed."""
    on_data_loss: Literal["fail", "continue"] = "fail"
    """If a broker deleted events before they were read, or a topic was deleted and created again:
    fail, or continue with the events that exist, a new topic from its start."""
    checkpoints: str | None = Field(default=None, pattern=r"^s3://[a-z0-9]")
    """s3://BUCKET/PREFIX for executors on other machines; by default <var>/checkpoints."""
    watermark: timedelta = timedelta(minutes=5)
    """An event is on time if it is at most this much older than the newest ones."""
    trusted_coverage: float = Field(default=0.5, ge=0, le=1)
    """The conversion rate of an hour is withheld where cameras delivered less than this share of
    its minutes; it holds for hours that are computed from then on."""
    allowed_lateness: timedelta = timedelta(hours=1)
    """Late events are applied up to this time after the end of their window; later ones are kept in
    quarantine for recomputation."""
    max_future_skew: timedelta = timedelta(minutes=10)
    """An event further in the future than this is quarantined."""
    track_ttl: timedelta = timedelta(minutes=10)
    """A track without a detection for this long is removed from the state."""
    track_confirm_frames: int = Field(default=2, ge=1)
    """Consecutive frames on one side of a line, or in a zone, before it counts."""
    track_handover: timedelta = timedelta(seconds=1)
    """A track that starts near one that vanished less than this ago continues it."""
    zone_grace: timedelta = timedelta(seconds=2)
    """A visit ends when its person is not detected in the zone for this long."""
    frame_delay: timedelta = timedelta(seconds=1)
    """How long a frame waits for earlier frames."""
    heartbeat_seconds: float = Field(default=60.0, ge=0)
    """The clock of the order status tracker advances without events when its topics have been
    silent for this long; 0: it does not. A stuck order then raises its alarm within `watermark`."""
    status_stuck_after: timedelta = timedelta(hours=24)
    """An open order without a change for this long is stuck."""
    status_session_gap: timedelta = timedelta(minutes=30)
    """Changes of an order with shorter gaps than this are one session."""
    status_keep_terminal: timedelta = timedelta(hours=24)
    """How long the tracker keeps the state of an order with a final status."""
    status_keep_stuck: timedelta = timedelta(days=7)
    """How long the tracker keeps the state of an order after it was reported stuck."""
    retries: int = Field(default=8, ge=0)
    """Consecutive retries of a stream after an infrastructure error; with the pauses below they
    last longer than a minute."""
    retry_base_seconds: float = Field(default=0.5, gt=0)
    """Pause before the first retry; it doubles with each one."""
    retry_max_seconds: float = Field(default=15.0, gt=0)
    """Maximum pause before a retry."""
    failed_retry_seconds: float = Field(default=60.0, gt=0)
    """After more retries a stream is `failed` and is tried again at this interval, so it recovers
    when the cause is gone."""
    stalled_after: float = Field(default=60.0, gt=0)
    """A stream is `stalled` when its batch or interval task runs longer than this many seconds."""
    lease_seconds: float = Field(default=15.0, ge=1, le=15)
    """Another application can take a stream over when the lease was not renewed for this long; its
    owner renews it five times as often."""
    take_over: bool = False
    """Take streams over from another application, which is fenced and ends. The same as `storelake
    run --take-over`."""
    ledger_keep: timedelta = timedelta(days=7)
    """How long `stream_batches` keeps a batch."""
    metrics_port: Port = 18083
    """Port of /metrics at `metrics_host`; 0: none."""

    @property
    def lease_duration(self) -> timedelta:
        """`lease_seconds`."""
        return timedelta(seconds=self.lease_seconds)
