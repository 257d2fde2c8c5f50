"""Callbacks: what providers tell us over HTTP, who may tell it, and what they are answered."""
