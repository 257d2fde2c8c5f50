"""Servers that the gateway is compared with, and the provider: programs whose first line of output names their port."""
