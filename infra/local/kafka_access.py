"""Who may do what on Kafka: one user for each program, its rights, and how a broker gets them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast, get_args

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not export them
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from conf.kafka import CALL_SECONDS
from conf.settings import KafkaSettings, Principal

GROUPS = "storelake-"
"""Begin of the names of all consumer groups of the product."""
Grant = tuple[Principal, str, str, str]
"""User, operation (WRITE, READ or DESCRIBE), resource (topic or group), its name; the name of a
group is a prefix."""

SERVER_PROPERTIES = """\
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.client.scram-sha-512.sasl.jaas.config={scram};
listener.name.client.plain.sasl.jaas.config={plain};
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config={plain};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin
"""
"""Users are in the cluster's metadata (SCRAM). The broker's own connections need one before it can
read them: admin is in this file, too (PLAIN, which no client uses)."""
TLS_PROPERTIES = """\
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
"""
MODULES = "org.apache.kafka.common.security"


def server_access(kafka: KafkaSettings, tls: Path) -> str:
    """Lines of `server.properties`: who may connect, and with which certificate.

    Args:
        kafka: the local broker.
        tls: folder of the certificates.
    """
    name, password = kafka.credentials("admin")
    module = f"{MODULES}.plain.PlainLoginModule required"
    plain = f'{module} username="{name}" password="{password}" user_{name}="{password}"'
    scram = f"{MODULES}.scram.ScramLoginModule required"
    access = SERVER_PROPERTIES.format(plain=plain, scram=scram)
    return access + (TLS_PROPERTIES.format(folder=tls) if kafka.local_tls else "")


def grants(kafka: KafkaSettings) -> Iterator[Grant]:
    """The rights of every user but admin, who may do everything; WRITE and READ imply DESCRIBE."""
    orders, detections, dlq = kafka.order_topics, kafka.detections, kafka.order_dlq
    everything = (*orders, detections, dlq)
    topics: dict[tuple[Principal, str], tuple[str, ...]] = {
        ("gateway", "WRITE"): orders,
        ("operator", "WRITE"): orders,
        ("cameras", "WRITE"): (detections,),
        ("streams", "READ"): everything,
        ("streams", "WRITE"): (dlq,),
        ("reader", "READ"): everything,
        ("reader", "DESCRIBE_CONFIGS"): everything,
        ("console", "DESCRIBE"): everything,
    }
    for (user, operation), names in topics.items():
        yield from ((user, operation, "topic", name) for name in names)
    yield "streams", "READ", "group", GROUPS
    yield "reader", "READ", "group", GROUPS


def kafka_acls(kafka: KafkaSettings) -> Iterator[str]:
    """The same as arguments of Kafka's own `kafka-acls.sh`, for a cluster of somebody else."""
    for user, operation, resource, name in grants(kafka):
        prefixed = " --resource-pattern-type prefixed" if resource == "group" else ""
        who = f"--allow-principal User:{user}"
        yield f"--add {who} --operation {operation} --{resource} {name}{prefixed}"


def ensure_access(admin: AdminClient, kafka: KafkaSettings) -> None:
    """Give the local broker the users with their present passwords, and their rights.

    Raises:
        KafkaException: it does not answer, or refuses.
    """
    acls = [_binding(*grant) for grant in grants(kafka)]
    users: list[Any] = [_credential(kafka, user) for user in get_args(Principal)]
    futures: list[Future[None]] = [
        *admin.alter_user_scram_credentials(users, request_timeout=CALL_SECONDS).values(),
        *admin.create_acls(acls, request_timeout=CALL_SECONDS).values(),
    ]
    for future in futures:
        future.result()


def set_password(admin: AdminClient, kafka: KafkaSettings) -> bool:
    """Set the password of admin; False where the broker does not take it (yet)."""
    wanted: list[Any] = [_credential(kafka, "admin")]
    try:
        for future in admin.alter_user_scram_credentials(wanted, request_timeout=2.0).values():
            future.result()
    except KafkaException:
        return False
    return True


def _credential(kafka: KafkaSettings, user: Principal) -> UserScramCredentialUpsertion:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    _, password = kafka.credentials(user)
    return UserScramCredentialUpsertion(user, info, password.encode())


def _binding(user: Principal, operation: str, resource: str, name: str) -> AclBinding:
    pattern = "PREFIXED" if resource == "group" else "LITERAL"
    return AclBinding(
        cast("Any", ResourceType)[resource.upper()],
        name,
        cast("Any", ResourcePatternType)[pattern],
        f"User:{user}",
        "*",
        cast("Any", AclOperation)[operation],
        AclPermissionType.ALLOW,
    )
