"""The session gateway."""
