"""Make `compat/old_programs/check/removed_names.py`: what the standard library lost, and when.

    python -m tests.old_programs.make_removed_names OLD_TYPESHED NEW_TYPESHED PYTHON...

Typeshed, whose stubs say by `sys.version_info` what each version has, is shipped in mypy: 0.971 is
the last release with the stubs of Python 2 and of 3.6, a new one has those of today. A name counts
as removed in the first version that has it no more. What the stubs of Python 2 leave out, vermin
and lib2to3 know. Whatever an interpreter given here still has is no removed name, and a test asks
every interpreter that runs it.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import version as version_of
from pathlib import Path

Version = tuple[int, int]
OLD = [(2, 7), *((3, minor) for minor in range(6, 12))]
NEW = [(3, minor) for minor in range(10, 16)]
ALL = sorted({*OLD, *NEW})

# Stubs of what is no public module, and of Tk and tests, whose names no server uses.
LEFT_OUT = ("_", "tkinter.", "distutils.", "lib2to3.", "test")
# Modules whose stubs name what is no method, or none that a program calls.
ODD = ("ast", "pdb", "gzip", "dis", "symtable", "modulefinder", "tokenize")

HEAD = '''"""What the standard library lost, and when.

Made by `tests.old_programs.make_removed_names`, from typeshed in mypy {old} and {new},
vermin {vermin} and fissix {fissix}, without what these interpreters still have:
{pythons}.
"""

from __future__ import annotations

'''


class Names(ast.NodeVisitor):
    """The public names that a stub has in one version, by module or class."""

    def __init__(self, stubs: Stubs, module: str, version: Version) -> None:
        self.stubs, self.version = stubs, version
        self.module = module
        self.scope: list[str] = []
        self.found: set[str] = set()

    def add(self, name: str) -> None:
        if not name.startswith("_"):
            self.found.add(".".join([*self.scope, name]))

    def visit_If(self, node: ast.If) -> None:
        holds = self.holds(node.test)
        for statement in [*(node.body if holds is not False else ())]:
            self.visit(statement)
        for statement in [*(node.orelse if holds is not True else ())]:
            self.visit(statement)

    def holds(self, test: ast.expr) -> bool | None:
        """Whether a condition holds in this version; None if that depends on the platform."""
        match test:
            case ast.BoolOp(op, values):
                parts = [self.holds(value) for value in values]
                decides = isinstance(op, ast.Or)
                if decides in parts:
                    return decides
                return None if None in parts else not decides
            case ast.Compare(ast.Attribute(attr="version_info"), [op], [ast.Tuple() as bound]):
                other = ast.literal_eval(bound)
                mine = self.version[: len(other)]
                return {
                    ast.GtE: mine >= other, ast.Lt: mine < other,
                    ast.Gt: mine > other, ast.LtE: mine <= other,
                }[type(op)]  # fmt: skip
            case ast.Compare(ast.Subscript(ast.Attribute(attr="version_info"))):
                return self.version[0] == 3
        return None

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.add(node.name)
        if not self.scope and not node.name.startswith("_"):
            self.scope.append(node.name)
            self.generic_visit(node)
            self.scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.add(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.add(node.target.id)
            if self.scope and self.module != "types":
                # What instances have is no name of the class, so nobody can look whether it is
                # there; a function's own attributes are written so, too.
                self.stubs.fields.add((self.module, ".".join([*self.scope, node.target.id])))

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.add(target.id)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(alias.asname or "_")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                # Relative imports stand in the faces of packages alone.
                module = f"{self.module}.{node.module}" if node.level else str(node.module)
                self.found |= self.stubs.names(module, self.version) or set()
            elif alias.asname or node.level:
                self.add(alias.asname or alias.name)


class Stubs:
    """The stubs of one typeshed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trees: dict[Path, ast.Module] = {}
        self.known: dict[tuple[str, Version], set[str] | None] = {}
        self.fields: set[tuple[str, str]] = set()
        self.versions = {}
        for line in (folder / "VERSIONS").read_text().splitlines():
            name, _, span = line.partition("#")[0].strip().partition(": ")
            if span:
                first, _, last = span.partition("-")
                ends = tuple(map(int, last.split("."))) if last.strip() else (9, 9)
                self.versions[name] = (tuple(map(int, first.split("."))), ends)

    def modules(self, version: Version) -> Iterator[str]:
        top = self.folder / "@python2" if version[0] == 2 else self.folder
        for path in top.rglob("*.pyi"):
            parts = path.relative_to(top).with_suffix("").parts
            if parts[0] == "@python2":
                continue
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if not name.startswith(LEFT_OUT) and "._" not in name:
                yield name

    def names(self, module: str, version: Version) -> set[str] | None:
        """Return what a module has, None if there is no such module in that version."""
        key = module, version
        if key not in self.known:
            self.known[key] = None  # for stubs that import each other
            self.known[key] = self._names(module, version)
        return self.known[key]

    def _names(self, module: str, version: Version) -> set[str] | None:
        top = self.folder / "@python2" if version[0] == 2 else self.folder
        if version[0] == 3:
            name = module
            while name not in self.versions:
                name = name.rpartition(".")[0]
                if not name:
                    return None
            first, last = self.versions[name]
            if not first <= version <= last:
                return None
        base = top.joinpath(*module.split("."))
        for path in (base.with_suffix(".pyi"), base / "__init__.pyi"):
            if path.exists():
                if path not in self.trees:
                    self.trees[path] = ast.parse(path.read_text(encoding="utf-8"))
                visitor = Names(self, module, version)
                visitor.visit(self.trees[path])
                return visitor.found
        return None


ASK = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
found = {}
for module, names in json.load(sys.stdin).items():
    try:
        thing = importlib.import_module(module)
    except BaseException:
        continue
    there = []
    for name in names:
        at = thing
        try:
            for part in name.split("."):
                at = getattr(at, part)
        except Exception:
            continue
        there.append(name)
    found[module] = there
print(json.dumps(found))
"""


def still_there(python: str, asked: dict[str, list[str]]) -> dict[str, list[str]]:
    done = subprocess.run(
        [python, "-S", "-c", ASK], input=json.dumps(asked), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, check=True,
    )  # fmt: skip
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def python2_modules() -> set[str]:
    """Return modules of Python 2 that other kept tools know, by whatever name they have in 3."""
    from fissix.fixes import fix_imports, fix_imports2
    from vermin import Config, rules

    config = Config()
    known = {name for name, (_, three) in rules.MOD_REQS(config).items() if three is None}
    known |= {
        name.partition(".")[0]
        for name, (_, three) in rules.MOD_MEM_REQS(config).items()
        if three is None and "." in name
    }
    return known | {*fix_imports.MAPPING, *fix_imports2.MAPPING, "urllib2"}


def renamed() -> dict[str, str]:
    """Return what lib2to3 says that Python 2's modules, and the names in urllib, are called."""
    from fissix.fixes import fix_imports, fix_imports2, fix_urllib

    found = {**fix_imports.MAPPING, **fix_imports2.MAPPING, "urllib2": "urllib.request"}
    for new, names in fix_urllib.MAPPING["urllib"]:
        found.update({f"urllib.{name}": f"{new}.{name}" for name in names if name[0] != "_"})
    return found


def removed(old: Stubs, new: Stubs, pythons: dict[Version, str]) -> tuple[dict, dict, dict]:
    last: dict[tuple[str, str], Version] = {}
    for version in ALL:
        for stubs in [old] * (version in OLD) + [new] * (version in NEW):
            for module in stubs.modules(version):
                names = stubs.names(module, version)
                if names is not None:
                    for name in {"", *names}:
                        last[module, name] = max(version, last.get((module, name), version))
    types = {name for module, name in last if module == "builtins"}
    for module in python2_modules() - types:
        last.setdefault((module, ""), (2, 7))
    after = {v: (3, 0) if v == (2, 7) else (v[0], v[1] + 1) for v in ALL}
    gone = {key: after[version] for key, version in last.items() if version < ALL[-1]}
    asked: dict[str, list[str]] = {}
    for module, name in gone:
        asked.setdefault(module, []).extend([name] if name else [])
    for version, python in pythons.items():
        for module, names in still_there(python, asked).items():
            for name in [*names, ""]:
                if gone.get((module, name), (9, 9)) <= version:
                    del gone[module, name]
    modules = {module: version for (module, name), version in gone.items() if not name}
    names, methods = {}, {}
    now = {
        part
        for (module, name), version in last.items()
        if version == ALL[-1]
        for part in name.split(".")
    }
    builtin = {
        name.rpartition(".")[2]
        for (module, name), version in last.items()
        if module == "builtins" and version == ALL[-1]
    }
    for (module, name), version in gone.items():
        above, _, method = name.rpartition(".")
        if (
            not name
            or modules.get(module, (9, 9)) <= version
            or ((module, above) in gone and above)
        ):
            continue
        if not above:
            names[f"{module}.{name}"] = version
        elif (module, name) in old.fields | new.fields:
            continue
        elif module not in ODD and method not in (builtin if module == "builtins" else now):
            methods[f"{module}.{name}"] = version
    return modules, names, methods


def table(name: str, found: dict[str, Version]) -> str:
    groups: dict[Version, list[str]] = {}
    for key, version in sorted(found.items()):
        groups.setdefault(version, []).append(key)
    lines = [f"{name}: dict[tuple[int, int], str] = {{"]
    for version, keys in sorted(groups.items()):
        lines += [f'    {version}: """']
        lines += textwrap.wrap(" ".join(keys), 96, initial_indent="", break_on_hyphens=False)
        lines += ['    """,']
    return "\n".join([*lines, "}\n"])


def main(old: str, new: str, *executables: str) -> None:
    pythons = {}
    for python in executables:
        said = subprocess.check_output([python, "-c", "import sys; print(*sys.version_info[:2])"])
        major, minor = map(int, said.split())
        pythons[major, minor] = python
    modules, names, methods = removed(Stubs(Path(old)), Stubs(Path(new)), pythons)
    spans = ", ".join(f"{a}.{b}" for a, b in sorted(pythons))
    versions = {name: version_of(name) for name in ("vermin", "fissix")}
    print(HEAD.format(old="0.971", new=version_of("mypy"), pythons=spans, **versions), end="")
    print("# Modules, by the version that has them no more.")
    print(table("MODULES", modules))
    print("# Names of modules that are still there.")
    print(table("NAMES", names))
    print("# Methods whose names nothing else in the standard library has.")
    print(table("METHODS", methods))
    print("# What Python 2's modules and the names in urllib are called since.")
    print("RENAMED = {")
    for before, since in sorted(renamed().items()):
        print(f'    "{before}": "{since}",')
    print("}")


if __name__ == "__main__":
    main(*sys.argv[1:])
