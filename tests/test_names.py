"""One word for one thing: no public name of ours stands for two."""

import ast
from collections import defaultdict
from pathlib import Path

import spuriscope

ROOM = Path(spuriscope.__file__).parent
COMMANDS = {"audit", "discover", "forget", "train"}  # each calls the function of its name
LIGHT = {"Placement"}  # choices that the command line repeats, since their module imports torch


def test_no_public_name_is_defined_twice() -> None:
    places = defaultdict(list)
    for path in ROOM.rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        public: set[str] = set()
        defined: set[str] = set()
        for node in body:
            if isinstance(node, ast.Assign):
                names = {target.id for target in node.targets if isinstance(target, ast.Name)}
                defined |= names
                if "__all__" in names:
                    public = set(ast.literal_eval(node.value))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                defined.add(node.target.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
        for name in public & defined:
            places[name].append(path.relative_to(ROOM).as_posix())
    assert len(places) > 500
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in twice.items() if name not in COMMANDS | LIGHT} == {}
