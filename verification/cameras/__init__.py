"""Simulated and real footage through a fresh deployment, compared with the known truth."""
