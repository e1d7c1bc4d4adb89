"""Spark Structured Streaming: jobs, their transforms, and the connectors at the rim."""
