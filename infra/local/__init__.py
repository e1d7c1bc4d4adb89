"""Real services on this machine, without Docker and without root.

Belongs here: how servers are fetched or built, started, checked and stopped. Does not: schemas
(`infra.postgres`), nor anything that a stream does with the services.

`up`, `down`, `status` and `reset` serve the command line; `started` is
an `up` that more follows; `running` serves tests and the demonstration.
"""

from infra.errors import ServiceError
from infra.local.provision import provision
from infra.local.service import ServiceStatus
from infra.local.services import down, reset, running, started, status, up

__all__ = [
    "ServiceError",
    "ServiceStatus",
    "down",
    "provision",
    "reset",
    "running",
    "started",
    "status",
    "up",
]
