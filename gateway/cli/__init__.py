"""`session-gateway`, the command line.

`commands` the commands · `serve` running a server · `admin` calling a running gateway · `demo` the demo · `output`
printing and exit codes
"""

import io
import os
import signal
import sys


def main() -> None:
    """The entry point of `session-gateway`."""
    if sys.argv[1:2] in (["serve"], ["wallet"]):
        # SIGHUP must not end a server that is still importing its modules; gateway.server.signals handles it later.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # gRPC's core would write lines to the log that are neither JSON nor masked. It reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: a name may not fit the encoding
    from gateway.cli.commands import cli  # after the lines above: importing takes a while

    cli(prog_name="session-gateway")
