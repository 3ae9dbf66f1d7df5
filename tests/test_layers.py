"""Imports: from the own folder and lower layers only; light for `import astrodl` and the command line."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import astrodl
from tests.conftest import ROOT

PACKAGE = ROOT / "astrodl"


def read_layers() -> list[list[str]]:
    """Read the diagram of docs/design.md, its first block of code: the parts of each layer, lowest layer first."""
    diagram = (ROOT / "docs" / "design.md").read_text("utf-8").split("```\n")[1]
    return [line.split() for line in diagram.splitlines()][::-1]


LAYER_OF = {name: layer for layer, names in enumerate(read_layers()) for name in names}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.name.startswith("__"))


def part_of(path: Path) -> str:
    """Return the folder or module directly under the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(source: str) -> set[str]:
    """Return the parts that a source imports, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("astrodl.")} & set(LAYER_OF)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_its_own_part_and_lower_layers(path: Path) -> None:
    own = part_of(path)
    assert own in LAYER_OF, f"astrodl/{own} is in no layer: add it to docs/design.md"
    wrong = {name for name in imported_parts(path.read_text()) if name != own and LAYER_OF[name] >= LAYER_OF[own]}
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}, which are not in a lower layer"


def test_the_diagram_contains_the_existing_parts() -> None:
    assert set(LAYER_OF) == {part_of(path) for path in FILES}


def test_imports_of_every_form_are_found() -> None:
    lines = [
        "import astrodl.store",
        "from astrodl import tasks",
        "def f():",
        "    from astrodl.training.loop import fit",
    ]
    source = "\n".join([*lines, "from astrodl import __version__"])
    assert imported_parts(source) == {"store", "tasks", "training"}


def test_the_workflow_does_not_import_astrodl() -> None:
    files = [ROOT / "workflow" / "Snakefile", *(ROOT / "workflow").rglob("*.smk")]
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert len(files) > 1
    assert not [line for line in lines if line.lstrip().startswith(("import astrodl", "from astrodl"))]


def test_astrodl_and_its_command_line_are_imported_without_torch() -> None:
    heavy = ("torch", "sklearn", "galsim", "photutils", "matplotlib", "astropy")
    code = (
        "import sys, astrodl, astrodl.cli\n"
        "astrodl.cli.parser()\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_every_public_name_can_be_imported() -> None:
    assert set(astrodl.__all__) <= set(dir(astrodl))
    for name in astrodl.__all__:
        assert getattr(astrodl, name) is not None
    with pytest.raises(AttributeError, match="'nonsense'"):
        astrodl.nonsense  # noqa: B018
