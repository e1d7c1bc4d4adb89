"""Sources: logs of Kafka and Pulsar, and one in memory, as Spark data sources."""
