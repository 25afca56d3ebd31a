"""What ships with the studio: starter model, sample datasets, model catalogue, theme."""

from pathlib import Path

_ROOT = Path(__file__).resolve().parent


def path(*parts: str) -> Path:
    """Path of a shipped file or folder, e.g. `path("samples", "pirate")`; it need not exist."""
    return _ROOT.joinpath(*parts)
