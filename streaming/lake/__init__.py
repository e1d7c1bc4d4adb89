"""The lake: tables, views and their two formats behind one protocol."""
