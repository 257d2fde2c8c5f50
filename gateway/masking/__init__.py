"""Secrets out of everything that is kept or shown: journal, log, errors, traces, what is answered."""
