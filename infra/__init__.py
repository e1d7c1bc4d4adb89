"""What the product stands on: local services without Docker, and the schema of the database."""
