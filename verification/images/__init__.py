"""Our images, built and run without Docker."""
