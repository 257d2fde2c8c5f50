"""The only HTTP out: one exchange with a provider, under a deadline, to an address that it may reach."""
