"""Tools of the repository: generated pages and checks. They are not part of the wheel."""
