"""The lake in Iceberg, written by PyIceberg."""
