"""A small checkout that launch.py can really install in seconds: the real door, a tiny project behind it."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PYPROJECT = """\
[build-system]
requires = []
build-backend = "tiny_backend"
backend-path = ["."]

[project]
name = "tiny"
version = "1.0"
dependencies = ["torch>=2.6,<2.14"]
"""

# Builds an editable wheel by hand. While a file named `hold` lies beside it, it says so and waits.
BACKEND = """\
import os, time, zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
METADATA = '''\\
Metadata-Version: 2.1
Name: tiny
Version: 1.0
Requires-Dist: torch>=2.6,<2.14
Provides-Extra: test
'''
WHEEL = '''\\
Wheel-Version: 1.0
Root-Is-Purelib: true
Tag: py3-none-any
'''

def build_editable(folder, config_settings=None, metadata_directory=None):
    while os.path.exists(os.path.join(HERE, "hold")):
        open(os.path.join(HERE, "holding"), "w").close()
        time.sleep(0.05)
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("tiny.pth", HERE)
        wheel.writestr("tiny-1.0.dist-info/METADATA", METADATA)
        wheel.writestr("tiny-1.0.dist-info/WHEEL", WHEEL)
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    return name
"""

COMMAND = """\
import json, os, sys
import torch
print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "torch": torch.__version__}))
sys.exit(7 if "fail" in sys.argv else 0)
"""

SCREEN = """\
import json, sys
print(json.dumps({"screen": sys.argv[1:]}))
"""


def make_checkout(folder: Path) -> Path:
    """Lay out the checkout: the door of this project, a tiny project, and a wheel that is called torch."""
    folder.mkdir()
    shutil.copy(ROOT / "launch.py", folder)
    shutil.copytree(ROOT / "bootstrap", folder / "bootstrap", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "ui" / "cli").mkdir(parents=True)
    shutil.copy(ROOT / "ui" / "running.py", folder / "ui")
    for package in ("ui", "ui/cli"):
        (folder / package / "__init__.py").write_text("")
    (folder / "ui" / "cli" / "__main__.py").write_text(COMMAND)
    (folder / "ui" / "serve.py").write_text(SCREEN)
    (folder / "tiny_backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "wheels").mkdir()
    make_wheel(folder / "wheels", "torch", "2.7.0", {"torch/__init__.py": "__version__ = '2.7.0'\n"})
    return folder


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """Write a pure Python wheel with these files."""
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for path, text in files.items()
    }
    record = "".join(f"{path},sha256={digests[path]},{len(text)}\n" for path, text in files.items())
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")


def environment(checkout: Path) -> dict[str, str]:
    """The environment of a person whose pip looks in the checkout's own folder, without a network."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "XDG_"))
    }
    return {
        **kept,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(checkout / "wheels"),
        "STUDIO_HOME": str(checkout / "home"),
    }


def start(checkout: Path, *words: str) -> subprocess.Popen[str]:
    """Call launch.py and go on."""
    return subprocess.Popen(
        [sys.executable, str(checkout / "launch.py"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(checkout),
        cwd=checkout.parent,
        start_new_session=True,
    )


def call(checkout: Path, *words: str) -> tuple[int, str, str]:
    """Call launch.py and wait; gives exit code, standard output, standard error."""
    process = start(checkout, *words)
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors
