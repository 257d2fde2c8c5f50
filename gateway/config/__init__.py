"""The configuration: one TOML file becomes one frozen Settings, or a list of all its problems."""

from gateway.config.adapter import adapter_settings
from gateway.config.diff import Changes, changes, requires_restart
from gateway.config.insecure import insecurities
from gateway.config.load import load
from gateway.config.problems import ConfigInvalid, Problem
from gateway.config.production import Deployment, production_problems, production_warnings, warnings
from gateway.config.secret_paths import secrets_in
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
    UnixSocket,
    WalletSettings,
)

__all__ = [
    "AdminSettings",
    "CallbackSettings",
    "CallerSettings",
    "Changes",
    "ClientTls",
    "ConfigInvalid",
    "Deployment",
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
    "UnixSocket",
    "WalletSettings",
    "adapter_settings",
    "changes",
    "insecurities",
    "load",
    "production_problems",
    "production_warnings",
    "requires_restart",
    "secrets_in",
    "warnings",
]
