"""The configuration: one TOML file becomes one frozen Settings, or a list of all its problems."""

from gateway.config.adapter import adapter_settings
from gateway.config.advice import warnings
from gateway.config.diff import Changes, changes, requires_restart
from gateway.config.load import load
from gateway.config.problems import ConfigInvalid, Problem
from gateway.config.settings import (
    AdminSettings,
    CallbackSettings,
    CallerSettings,
    ClientTls,
    GrpcServerKind,
    GrpcSettings,
    JournalSettings,
    JwtSettings,
    Listen,
    LogSettings,
    Network,
    ProviderSettings,
    Settings,
    StoreSettings,
    TlsFiles,
    TracesSettings,
    WalletSettings,
)

__all__ = [
    "AdminSettings",
    "CallbackSettings",
    "CallerSettings",
    "Changes",
    "ClientTls",
    "ConfigInvalid",
    "GrpcServerKind",
    "GrpcSettings",
    "JournalSettings",
    "JwtSettings",
    "Listen",
    "LogSettings",
    "Network",
    "Problem",
    "ProviderSettings",
    "Settings",
    "StoreSettings",
    "TlsFiles",
    "TracesSettings",
    "WalletSettings",
    "adapter_settings",
    "changes",
    "load",
    "requires_restart",
    "warnings",
]
