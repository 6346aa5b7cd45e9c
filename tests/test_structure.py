"""The house stands: rooms import downward only, no cycle, no room too large. The order of floors is written in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"scap_ov": "scap_ov", "passes": "scap_ov.passes", "custom_ops": "scap_ov.custom_ops"}
LARGEST_SHARE = 0.15
MOST_ANY = 40  # in signatures: what a runtime without types gives, and values of any kind that are told apart at run time


def rows_of(page: str) -> list[tuple[int, list[str]]]:
    """Floor and names of every row of the table between the markers."""
    table = page.partition("<!-- floors: begin -->")[2].partition("<!-- floors: end -->")[0]
    return [(int(number), re.findall("`(.+?)`", names)) for number, names in re.findall(r"^\| (\d+) \| (.*?) \|", table, re.MULTILINE)]


ROWS = rows_of((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
FLOORS = {room: floor for floor, rooms in ROWS for room in rooms}


def module_files() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for folder, name in PACKAGES.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = [name, *file.relative_to(ROOT / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imported(tree: ast.AST, modules: set[str]) -> set[str]:
    """The modules of ours that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not used"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (whole & modules) | ({str(node.module)} if whole - modules else set())
    return names & modules


def name_in_table(module: str) -> str:
    """The longest name of the table that a module begins with."""
    path = module.removeprefix("scap_ov.").replace(".", "/") if module != "scap_ov" else "__init__"
    names = [name for name in FLOORS if path == name or path.startswith(f"{name}/")]
    assert names, f"{module} has no room; give it one in docs/architecture.md"
    return max(names, key=len)


def room_of(module: str) -> str:
    """The room of a module; files without a folder that share a row form one room."""
    name = name_in_table(module)
    files = [name for name in dict(ROWS)[FLOORS[name]] if (ROOT / "scap_ov" / f"{name}.py").exists()]
    return " ".join(files) if name in files else name


FILES = module_files()
TREES = {module: ast.parse(file.read_text(encoding="utf-8")) for module, file in FILES.items()}
IMPORTS = {module: imported(tree, set(FILES)) for module, tree in TREES.items()}


def test_the_graph_is_read_lazy_imports_included() -> None:
    assert len(FILES) > 150
    assert "scap_ov.fitting.fit" in IMPORTS["scap_ov.api"]  # inside a function
    assert "scap_ov.plan" in IMPORTS["scap_ov.storage.rt_info"]


def test_every_name_of_the_table_is_there() -> None:
    assert set(FLOORS) == {name_in_table(module) for module in FILES}


def test_rooms_import_downward_only() -> None:
    floor = {module: FLOORS[name_in_table(module)] for module in FILES}
    wrong = [
        f"{source} (floor {floor[source]}) imports {target} (floor {floor[target]})"
        for source, targets in IMPORTS.items()
        for target in sorted(targets)
        if room_of(source) != room_of(target) and floor[source] <= floor[target]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_imports_itself_in_a_circle() -> None:
    try:
        TopologicalSorter({module: targets - {module} for module, targets in IMPORTS.items()}).prepare()
    except CycleError as e:
        pytest.fail(" -> ".join(e.args[1]))


def test_signatures_name_their_types() -> None:
    """`Any` is left where nothing better can be said; JSON has its types in json_values."""
    found = Counter[str]()
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                own = node.args
                taken = [*own.posonlyargs, *own.args, *own.kwonlyargs, *filter(None, (own.vararg, own.kwarg))]
                types = [t for t in (*(a.annotation for a in taken), node.returns) if t is not None]
                found[module] += sum(isinstance(n, ast.Name) and n.id == "Any" for t in types for n in ast.walk(t))
    assert found.total() < MOST_ANY, ", ".join(f"{module} {count}" for module, count in found.most_common() if count)


def test_no_room_holds_more_than_its_share() -> None:
    lines = Counter[str]()
    for module, file in FILES.items():
        lines[room_of(module)] += sum(bool(line.strip()) for line in file.read_text(encoding="utf-8").splitlines())
    room, most = lines.most_common(1)[0]
    assert most <= LARGEST_SHARE * lines.total(), f"{room} holds {most / lines.total():.1%} of the lines"


GNU_ONLY = re.compile(
    r"__builtin_|__attribute__|__extension__|__asm__|__int128|__typeof|#\s*pragma (?!once)|cpuid\.h|sys/|unistd\.h|\bsyscall\(|madvise"
)


def test_what_not_every_compiler_and_system_has_stands_behind_an_if() -> None:
    found = []
    for file in sorted(path for pattern in ("*.h", "*.?pp") for path in (ROOT / "custom_ops").rglob(pattern)):
        depth = 0
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            word = re.match(r"\s*#\s*(if|endif)", line)
            depth += {"if": 1, "endif": -1}[word[1]] if word else 0
            if GNU_ONLY.search(line.partition("//")[0]) and not depth:
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)
