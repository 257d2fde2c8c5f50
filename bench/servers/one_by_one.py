"""The gateway with one operation in each transaction, with the arguments of `session-gateway`: what grouping buys."""

from gateway import cli
from gateway.store import batching

if __name__ == "__main__":
    batching.MAX_BATCH_SIZE = 1
    cli.main()
