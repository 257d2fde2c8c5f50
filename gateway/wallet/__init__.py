"""Where Results are credited: the built-in ledger, or the operator's wallet behind the same interface."""
