"""Reads the source of an adapter, and finds what it may not use: I/O, clocks, randomness, logging, threads."""

import ast
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec

CONTRACT = frozenset({"adapters", "adapters.contract", "adapters.simulation"})

FORBIDDEN_MODULES = frozenset(
    {
        *("adapters.conformance", "adapters.golden", "adapters.golden_form", "adapters.registry"),
        *("asyncio", "concurrent", "multiprocessing", "sched", "signal", "subprocess", "threading", "_thread"),
        *("ftplib", "http.client", "http.server", "imaplib", "poplib", "select", "selectors", "smtplib", "socket"),
        *("socketserver", "ssl", "urllib.request", "xmlrpc"),
        *("fileinput", "getpass", "glob", "mmap", "os", "pathlib", "pickle", "shelve", "shutil", "sqlite3", "tempfile"),
        *("locale", "platform", "random", "secrets", "time"),
        *("logging", "syslog", "warnings"),
        *("builtins", "contextvars", "ctypes", "importlib", "sys"),
    }
)
FORBIDDEN_FUNCTIONS = frozenset({"__import__", "breakpoint", "compile", "eval", "exec", "input", "open", "print"})
"""Of the builtins."""
FORBIDDEN_METHODS = frozenset({"getnode", "now", "open", "today", "urandom", "utcnow", "uuid1", "uuid4"})
"""Of modules and types that are otherwise allowed: datetime, uuid, io. `attempt.now` is no call, and no clock."""


def sources_of(package: str) -> dict[str, str]:
    """The text of every module of the package, and of the modules beyond it that these import, by module name."""
    found: dict[str, str] = {}
    waiting = dict(_modules(package, files(package)))
    while waiting:
        module, source = waiting.popitem()
        found[module] = source
        for imported in imports(module, source):
            if imported.partition(".")[0] == package.partition(".")[0] and imported not in CONTRACT:
                waiting |= {name: text for name, text in _source(imported) if name not in found}
    return found


def _modules(package: str, folder: Traversable) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.name.endswith(".py"):
            yield f"{package}.{entry.name.removesuffix('.py')}", entry.read_text(encoding="utf-8")
        elif entry.is_dir() and entry.joinpath("__init__.py").is_file():
            yield from _modules(f"{package}.{entry.name}", entry)


def _source(module: str) -> Iterator[tuple[str, str]]:
    """The text of a module that an adapter may import."""
    try:
        spec = None if _is_forbidden(module) else find_spec(module)
    except ModuleNotFoundError:  # `from module import value`: the value is no module
        spec = None
    get_source = getattr(spec.loader, "get_source", None) if spec else None
    source = get_source(module) if get_source else None
    if spec and source is not None:
        yield f"{module}.__init__" if spec.submodule_search_locations is not None else module, source


def imports(module: str, source: str) -> Iterator[str]:
    """Every module that this one imports, absolute; of `from a import b` both `a` and `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, (_above(module, node.level), node.module)))
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _above(module: str, level: int) -> str:
    """The package that `level` dots mean in this module, whose name ends with `.__init__` where it is a package."""
    return module.rsplit(".", level)[0] if level else ""


def forbidden(module: str, source: str, package: str) -> Iterator[str]:
    """What this module does and an adapter may not, each as the end of a sentence."""
    allowed = {package.partition(".")[0], "adapters", "msgspec", *sys.stdlib_module_names}
    for imported in imports(module, source):
        foreign = imported.partition(".")[0] not in allowed
        if foreign or _is_forbidden(imported) or imported.rpartition(".")[2] in FORBIDDEN_METHODS:
            yield f"imports {imported}"
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_FUNCTIONS:
                yield f"calls {name}() on line {node.lineno}"
            case ast.Call(func=ast.Attribute(attr=name)) if name in FORBIDDEN_METHODS:
                yield f"calls .{name}() on line {node.lineno}"


def _is_forbidden(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in FORBIDDEN_MODULES)
