"""Configurations of a few lines, read as the gateway reads them."""

from pathlib import Path

from gateway.config import Settings, load

KEY = "k" * 40
GOOD_PROVIDER = 'adapter = "acme"\nbase_url = "https://acme.example"\n'


def read(folder: Path, content: str, **environ: str) -> Settings:
    """Load a configuration of this content that lies in this folder."""
    path = folder / "gateway.toml"
    path.write_text(content, encoding="utf-8")
    return load(path, environ)
