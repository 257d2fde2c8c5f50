"""What is measured beside the gateway, and the provider behind it: programs that tell their port in a first line."""
