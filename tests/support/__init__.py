"""Real parts for tests: a provider, a wallet, databases, and gateways in this process or in others."""
