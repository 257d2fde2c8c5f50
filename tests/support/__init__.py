"""Real parts for tests to speak to: a provider that does as it is told, and a gateway."""
