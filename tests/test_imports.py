"""The house's arrows, and that what is slow to import is imported only where it is needed.

launch -> ui -> backend.facade -> backend.* -> studio, read off the source; then from fresh processes.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "gradio",
    "pandas",
    "plotly",
    "datasets",
}
# Modules that exist for a heavy package, and are themselves imported by name or inside functions only.
FOR_TORCH = (
    "studio/train/",
    "studio/generate/",
    "studio/export/",
    "studio/merge/",
    "studio/memory/as_cuda.py",
    "studio/memory/autocast.py",
    "studio/memory/fake.py",
    "studio/memory/places.py",
    "studio/memory/probe.py",
    "studio/memory/rehearsal.py",
    "studio/memory/trace.py",
    "studio/memory/tracker.py",
    "studio/models/anatomy.py",
    "studio/models/layer_form.py",
    "studio/models/load.py",
    "studio/models/located.py",
    "studio/models/survey.py",
    "backend/hardware/torch_probe.py",
)
# Of the screen these parts are used by the command line or before gradio is there.
UI_WITHOUT_GRADIO = ("ui/cli/", "ui/fragments/", "ui/words.py", "ui/running.py", "ui/serve.py", "ui/auth.py")
# All that `ui` may know of what lies under it: the facade, its types, where the home is, who may use a port;
# errors and reasons.
UI_MAY = {
    *("backend.api", "backend.api.chat", "backend.facade", "backend.home", "backend.hosts"),
    "studio.errors",
    "studio.sentences",  # how codes and facts become sentences, below the screen too
    "studio.names",  # the grammar of models' names, which the page's address and the chips speak too
}


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported(file, *, module_level):
    """Dotted names that a file imports, with those under `if TYPE_CHECKING` left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = set()
    waiting = list(tree.body) if module_level else list(ast.walk(tree))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif module_level and isinstance(node, ast.If):
            waiting += node.orelse if "TYPE_CHECKING" in ast.dump(node.test) else node.body + node.orelse
        elif module_level and isinstance(node, ast.Try | ast.With | ast.ClassDef):
            waiting += node.body
    return names


def ours(names, package):
    return {n for n in names if n == package or n.startswith(f"{package}.")}


def name_of(file):
    return file.relative_to(ROOT).as_posix()


def violations(packages, wrong):
    """`file: names` of every file for which `wrong(name, file)` gives any."""
    found = ((name_of(f), wrong(name_of(f), f)) for package in packages for f in modules(package))
    return [f"{name}: {sorted(names)}" for name, names in found if names]


def tops(names):
    return {n.partition(".")[0] for n in names}


def test_studio_stands_by_itself():
    others = {"backend", "ui", "launch", "bootstrap", "gradio", "sqlite3", "sqlite_utils", "plotly"}
    assert violations(["studio"], lambda _, f: tops(imported(f, module_level=False)) & others) == []


def test_backend_knows_no_screen():
    others = {"ui", "launch", "bootstrap", "gradio", "plotly"}
    assert violations(["backend"], lambda _, f: tops(imported(f, module_level=False)) & others) == []


def test_ui_goes_through_the_facade():
    def wrong(_, file):
        names = imported(file, module_level=False)
        below = {n for package in ("backend", "studio") for n in ours(names, package)} - {"backend", "studio"}
        return {n for n in below if n not in UI_MAY and n.rpartition(".")[0] not in UI_MAY}

    assert violations(["ui"], wrong) == []


def test_slow_packages_are_imported_where_they_are_needed():
    def wrong(name, file):
        allowed = set()
        if name.startswith(FOR_TORCH):
            allowed = {"torch", "transformers", "peft", "accelerate"}
        elif name.startswith("ui/") and not name.startswith(UI_WITHOUT_GRADIO):
            allowed = {"gradio", "plotly"}
        elif name.startswith(("assets/making/", "assets/export/")):
            return set()  # makes the starter model; leaves with an export: nothing imports them
        return (tops(imported(file, module_level=True)) & HEAVY) - allowed

    assert violations(["studio", "backend", "ui", "assets"], wrong) == []


def loaded_after(code):
    """Top-level packages in a fresh process after running `code`."""
    code = f"{code}\nimport sys; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import ui.cli.main",
        "import backend.facade",
        "import studio.defaults, studio.models.locate, studio.models.hub, studio.models.catalogue",
        "from studio.plan import methods, parse_request; methods.all(); parse_request('starter', 'pirate')",
        "from tests.memory.test_estimate import estimated; estimated('llama', 'lora')",
    ],
)
def test_command_line_and_facade_come_up_without_slow_packages(code):
    assert not loaded_after(code) & HEAVY


def test_screen_comes_up_without_torch():
    assert not loaded_after("import ui.app, ui.serve") & (HEAVY - {"gradio", "plotly", "pandas"})
