import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "astrodl"


def read_floors() -> list[list[str]]:
    """Read the drawing in docs/design.md: the rooms of each floor, lowest floor first."""
    section = (ROOT / "docs" / "design.md").read_text("utf-8").partition("## Rooms and floors\n")[2]
    return [line.split() for line in section.split("```\n")[1].splitlines()][::-1]


FLOOR_OF = {name: floor for floor, names in enumerate(read_floors()) for name in names}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.name.startswith("__"))


def room(path: Path) -> str:
    """Name the folder or module directly under the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    """List the rooms that a source imports, wherever in the file."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("astrodl.")} & set(FLOOR_OF)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_its_folder_and_lower_floors(path: Path) -> None:
    own = room(path)
    assert own in FLOOR_OF, f"astrodl/{own} has no floor: add it to docs/design.md"
    upward = {name for name in imported_rooms(path.read_text()) if name != own and FLOOR_OF[name] >= FLOOR_OF[own]}
    assert not upward, f"{path.relative_to(ROOT)} imports {sorted(upward)}, which is not below it"


def test_the_drawing_shows_the_rooms_that_exist() -> None:
    assert set(FLOOR_OF) == {room(path) for path in FILES}


def test_imports_are_seen_in_every_form() -> None:
    lines = (
        "import astrodl.store",
        "from astrodl import tasks",
        "def f():",
        "    from astrodl.training.loop import fit",
    )
    lines = (*lines, "    from astrodl.training.loop import fit")
    source = "\n".join([*lines, "from astrodl import __version__"])
    assert imported_rooms(source) == {"store", "tasks", "training"}


def test_the_workflow_imports_nothing_of_astrodl() -> None:
    files = [ROOT / "workflow" / "Snakefile", *(ROOT / "workflow").rglob("*.smk")]
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert len(files) > 1
    assert not [line for line in lines if line.lstrip().startswith(("import astrodl", "from astrodl"))]


def test_importing_astrodl_or_its_command_line_imports_no_torch() -> None:
    heavy = ("torch", "sklearn", "galsim", "photutils", "matplotlib", "astropy")
    code = (
        "import sys, astrodl, astrodl.cli\n"
        "astrodl.cli.parser()\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_every_public_name_can_be_imported() -> None:
    import astrodl

    assert set(astrodl.__all__) <= set(dir(astrodl))
    for name in astrodl.__all__:
        assert getattr(astrodl, name) is not None
    with pytest.raises(AttributeError, match="'nonsense'"):
        astrodl.nonsense  # noqa: B018
