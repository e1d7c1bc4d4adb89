"""Generations of topics: the ids of the topics of one name, in the order in which streams saw them.

The table `topic_generations` outlives checkpoints, so positions of a newer topic always sort after
all positions of the older ones (docs/adr/0030).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import psycopg

from streaming.sources.options import Generation

_NEWEST_SQL = """
    SELECT generation, topic_id FROM topic_generations WHERE topic = %s
    ORDER BY generation DESC LIMIT 1"""


def meet_topics(dsn: str, ids: Mapping[str, str]) -> dict[str, Generation]:
    """The generation of each topic; a new id starts the next one. One transaction.

    The first id of a name is generation 0, whose positions equal the broker's offsets. An earlier
    id that returns, as after a change of the cluster and back, also starts a new generation: else
    the positions of the other topic would hide its events.

    Args:
        dsn: of the serving database.
        ids: topic -> its present id in the broker.

    Raises:
        psycopg.Error: the database cannot be reached, or has not been migrated.
    """
    if not ids:
        return {}
    with psycopg.connect(dsn) as connection:
        known = {topic: _newest(connection, topic) for topic in ids}
        if any(one is None or one.topic_id != ids[topic] for topic, one in known.items()):
            connection.execute("LOCK TABLE topic_generations IN SHARE ROW EXCLUSIVE MODE")
            known = {topic: _meet(connection, topic, ids[topic]) for topic in sorted(ids)}
        return {topic: one for topic, one in known.items() if one is not None}


def _newest(connection: psycopg.Connection, topic: str) -> Generation | None:
    row = connection.execute(_NEWEST_SQL, (topic,)).fetchone()
    return Generation(row[1], row[0]) if row else None


def _meet(connection: psycopg.Connection, topic: str, topic_id: str) -> Generation:
    known = _newest(connection, topic)
    if known is not None and known.topic_id == topic_id:
        return known
    met = Generation(topic_id, known.number + 1 if known else 0)
    connection.execute(
        "INSERT INTO topic_generations (topic, generation, topic_id) VALUES (%s, %s, %s)",
        (topic, met.number, topic_id),
    )
    return met


def as_option(generations: Mapping[str, Generation]) -> str:
    """The value of option `topicGenerations`: JSON, {topic: [id, number]}."""
    return json.dumps({t: [g.topic_id, g.number] for t, g in sorted(generations.items())})
