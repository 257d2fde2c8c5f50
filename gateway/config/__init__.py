"""The configuration: one TOML file becomes one frozen Settings, or a list of all its problems."""

from gateway.config.adapter import adapter_settings
from gateway.config.advice import warnings
from gateway.config.diff import Changes, changes, requires_restart
from gateway.config.load import load
from gateway.config.problems import ConfigInvalid, Problem
from gateway.config.settings import (
    AdminSettings,
    CallbackSettings,
    ClientTls,
    GrpcServerKind,
    GrpcSettings,
    JournalSettings,
    Listen,
    LogSettings,
    Network,
    ProviderSettings,
    Settings,
    StoreSettings,
    TlsFiles,
    TracesSettings,
    UnixSocket,
    WalletSettings,
)

__all__ = [
    "AdminSettings",
    "CallbackSettings",
    "Changes",
    "ClientTls",
    "ConfigInvalid",
    "GrpcServerKind",
    "GrpcSettings",
    "JournalSettings",
    "Listen",
    "LogSettings",
    "Network",
    "Problem",
    "ProviderSettings",
    "Settings",
    "StoreSettings",
    "TlsFiles",
    "TracesSettings",
    "UnixSocket",
    "WalletSettings",
    "adapter_settings",
    "changes",
    "load",
    "requires_restart",
    "warnings",
]
