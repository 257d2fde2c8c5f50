"""Closing sessions, what providers say of sessions, and the events that subscribers see."""
