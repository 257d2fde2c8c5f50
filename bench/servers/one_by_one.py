"""The gateway without group commit, with the arguments of `session-gateway`."""

from gateway import cli
from gateway.store.postgres import committer
from gateway.store.sqlite import thread

if __name__ == "__main__":
    thread.MOST_AT_ONCE = committer.MOST_AT_ONCE = 1
    cli.main()
