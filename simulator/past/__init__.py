"""Days that a chain has had: who came, what cameras saw of it, and what was sold; all seeded."""
