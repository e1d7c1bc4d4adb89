"""Proof that the product keeps its promises. Not in the wheel: nothing here runs in production."""
