"""Loads: clients that are so lean that they are not what is measured."""
