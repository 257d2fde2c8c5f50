"""The gateway without group commit, with the arguments of `session-gateway`."""

from gateway import cli
from gateway.store import batching

if __name__ == "__main__":
    batching.MAX_BATCH_SIZE = 1
    cli.main()
