"""The tree keeps its rules: every file is packaged, descriptions agree, and layers import in one direction."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LAYERS = ["MedSegAICore", "MedSegAIMetricsLib", "MedSegAILib"]  # each may import those before it
SLICER_MAY_BE_IMPORTED_BY = re.compile(
    r"MedSegAI(Core/(mrml|headless)\w*\.py|Lib/logic\.py|MetricsLib/logic\.py|(Core|Lib|MetricsLib)/panels/\w+\.py|(Metrics)?\.py)$"
)
QT_MAY_BE_IMPORTED_BY = re.compile(r"MedSegAI((Core|Lib|MetricsLib)/panels/\w+\.py|(Metrics)?\.py)$")


def tracked(*folders):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\n")
    return [Path(name) for name in listed if name and (REPOSITORY / name).is_file()]


SOURCES = [path for path in tracked("MedSegAI", "MedSegAIMetrics") if path.suffix == ".py"]


def imports(path):
    """(imported module, at the top level of the file?) of every import; type checking does not count."""
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        for name in names:
            yield name, id(node) in top


@pytest.mark.parametrize("module", ["MedSegAI", "MedSegAIMetrics"])
def test_cmake_lists_exactly_the_files_of_the_module(module):
    text = (
        (REPOSITORY / module / "CMakeLists.txt")
        .read_text(encoding="utf-8")
        .replace("${MODULE_NAME}.py", f"{module}.py")
    )
    lists = re.findall(r"set\(MODULE_PYTHON_(?:SCRIPTS|RESOURCES)\n(.*?)\)", text, re.DOTALL)
    listed = sorted(name for block in lists for name in block.split())
    # Of the files at the top of a module only the Python file is packaged.
    packaged = [path for path in tracked(module) if path.parent != Path(module) or path.suffix == ".py"]
    present = sorted(path.relative_to(module).as_posix() for path in packaged)
    assert listed == present


def test_the_catalog_entry_and_the_old_description_say_the_same():
    entry = json.loads((REPOSITORY / "MedSegAI.json").read_text(encoding="utf-8"))
    lines = (REPOSITORY / "extension_description.s4ext").read_text(encoding="utf-8").splitlines()
    old = dict(line.partition(" ")[::2] for line in lines if line and not line.startswith("#"))
    assert old["scmurl"] == entry["scm_url"]
    assert old["scmrevision"] == entry["scm_revision"]
    assert old["category"] == entry["category"]
    assert old["depends"].split() == entry["build_dependencies"]
    assert old["build_subdirectory"] == entry["build_subdirectory"]
    cmake = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    for key, name in (("homepage", "HOMEPAGE"), ("iconurl", "ICONURL"), ("screenshoturls", "SCREENSHOTURLS"),
                      ("description", "DESCRIPTION"), ("contributors", "CONTRIBUTORS")):  # fmt: skip
        assert f'set(EXTENSION_{name} "{old[key]}")' in cmake
    for key in ("iconurl", "screenshoturls"):
        assert (REPOSITORY / old[key].partition("/main/")[2]).is_file()


def test_pyproject_names_every_package():
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    packages = {".".join(path.parent.parts[1:]) for path in SOURCES if path.name == "__init__.py"}
    assert packages <= set(re.findall(r'^ {4}"([\w.]+)",$', text, re.MULTILINE))


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_go_down_the_layers(path):
    name = path.as_posix()
    own = next((layer for layer in LAYERS if f"/{layer}/" in name), None)
    for module, top in imports(path):
        root = module.split(".")[0]
        assert root != "slicer" or SLICER_MAY_BE_IMPORTED_BY.search(name), f"{name} imports slicer"
        assert root not in ("qt", "ctk") or QT_MAY_BE_IMPORTED_BY.search(name), f"{name} imports {root}"
        assert root != "torch" or not top or name.endswith("models/networks.py"), f"{name} imports torch at the top"
        assert not module.endswith("models.networks") or not top, f"{name} imports networks at the top"
        if own and root in LAYERS:
            assert LAYERS.index(root) <= LAYERS.index(own), f"{name} imports {module}"
            # In Slicer's developer mode the metrics package is not on the path yet when MedSegAI is imported.
            assert root != "MedSegAIMetricsLib" or own == root or not top, f"{name} imports {module} at the top"


def test_the_command_starts_without_torch_slicer_and_training_libraries():
    code = "import sys, MedSegAILib.commands; print({'torch', 'slicer', 'vtk', 'pydicom'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "MedSegAI")])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_line_ends_are_unix_and_no_file_is_large():
    for path in tracked("."):
        content = (REPOSITORY / path).read_bytes()
        assert len(content) < 8 * 2**20, path
        if path.suffix in (".py", ".md", ".txt", ".json", ".toml", ".ui", ".sh", ".s4ext"):
            assert b"\r\n" not in content, path
