"""Mutation testing: change one operator, number or condition at a time, and run the tests that should notice.

    python -m tests.mutants [--count 400] [--seed 7030] [--workers 2] [--only exporter/http] [--list]

The sample is drawn from protocol/, the exporter's core and the server's state machines by a hash of the seed and the
mutant's name. The name has no line number, so that a change replaces only the mutants of the lines that it touches.
Each mutant runs in a copy of the tracked files: first the tests of its own module, then those that import it, then
those of its package. Mutants listed in tests/equivalent.toml are not run. Exit status 1 if fewer than nine in ten of
the others are killed or a listed mutant no longer exists; a sample of fewer than 100 is too small to be judged.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).parents[1]
SUBJECTS = (
    "protocol/*.py",
    "exporter/*.py",
    "exporter/http/*.py",
    "reference_server/*.py",
    "reference_server/relay/*.py",
)
EXCLUDED = {"__init__.py", "__main__.py", "traffic.py", "sample_mail.py"}
OPERATORS = [
    "core/AddNot",
    "core/NumberReplacer",
    "core/ReplaceAndWithOr",
    "core/ReplaceOrWithAnd",
    "core/ReplaceTrueWithFalse",
    "core/ReplaceFalseWithTrue",
    "core/ReplaceBreakWithContinue",
    "core/ReplaceContinueWithBreak",
    "core/ReplaceUnaryOperator_Delete_Not",
    "core/ZeroIterationForLoop",
    *(
        f"core/ReplaceComparisonOperator_{pair}"
        for pair in (
            "Eq_NotEq",
            "NotEq_Eq",
            "Lt_LtE",
            "LtE_Lt",
            "Gt_GtE",
            "GtE_Gt",
            "Is_IsNot",
            "IsNot_Is",
        )
    ),
    *(
        f"core/ReplaceBinaryOperator_{pair}"
        for pair in ("Add_Sub", "Sub_Add", "Mul_FloorDiv", "LShift_RShift", "BitAnd_BitOr")
    ),
]
VALUES = "tests/test_house.py::test_dataclasses_are_frozen_and_have_slots"
PATIENCE_S = 300
"""For the tests of one module; those of a package may need thrice that on a busy machine."""
REQUIRED = 0.9
JUDGED = 100


@dataclass(frozen=True, slots=True, order=True)
class Mutant:
    """One change: the `occurrence`-th place in the module where the operator applies."""

    name: str
    module: str
    line: int
    operator: str
    occurrence: int

    def rank(self, seed: int) -> bytes:
        return hashlib.sha256(f"{seed} {self.name}".encode()).digest()


def mutants() -> Iterator[Mutant]:
    """Every possible mutant, in a stable order."""
    for pattern in SUBJECTS:
        for path in sorted(ROOT.glob(pattern)):
            if path.name not in EXCLUDED:
                yield from of_module(path)


def of_module(path: Path) -> Iterator[Mutant]:
    """The module's mutants, each named by operator, source line, and its number among those with the same line."""
    module, lines = str(path.relative_to(ROOT)), path.read_text().splitlines()
    nodes = list(ast_nodes(get_ast_from_path(path)))
    for name in OPERATORS:
        operator = get_operator(name)()
        places = [place for node in nodes for place in operator.mutation_positions(node)]
        same_line: Counter[str] = Counter()
        for occurrence, ((number, _), _) in enumerate(places):
            line = f"{module} {name.removeprefix('core/')} {lines[number - 1].strip()}"
            same_line[line] += 1
            yield Mutant(f"{line} #{same_line[line]}", module, number, name, occurrence)


def tests_of(module: str) -> list[list[str]]:
    """The tests to run, in stages: those of the module, those that import it, all of its package."""
    path = Path(module)
    folder = ROOT / "tests" / path.parts[0]
    imported = ".".join(path.with_suffix("").parts)
    own = sorted(folder.rglob(f"test_{path.stem}.py"))
    others = [test for test in sorted(folder.rglob("test_*.py")) if test not in own]
    importing = [test for test in others if imported in test.read_text()]
    stages = [own, importing, [folder]]
    named = [[str(test.relative_to(ROOT)) for test in stage] for stage in stages if stage]
    return [[*named[0], VALUES], *named[1:]]


def mutated(mutant: Mutant, source: str) -> str:
    """The source of the module with the change."""
    changed: str = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    return changed


def compiles(mutant: Mutant) -> bool:
    """Whether the change is valid Python; `not` before an assignment expression, for example, is not."""
    try:
        compile(mutated(mutant, (ROOT / mutant.module).read_text()), mutant.module, "exec")
    except SyntaxError:
        return False
    return True


def survives(mutant: Mutant, copy: Path) -> bool:
    """Whether all tests pass on the mutated copy, which is restored afterwards."""
    path = copy / mutant.module
    original = path.read_text()
    path.write_text(mutated(mutant, original))
    try:
        *first, package = tests_of(mutant.module)
        return all(passes(copy, tests) for tests in first) and passes(
            copy, package, 3 * PATIENCE_S
        )
    finally:
        path.write_text(original)


def passes(copy: Path, tests: list[str], patience_s: float = PATIENCE_S) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    environment.pop("SMTPSTATUS_REQUIRE_REAL", None)
    process = subprocess.Popen(
        command,
        cwd=copy,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(patience_s) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        kill_session(process.pid)
        process.wait()


def kill_session(leader: int) -> None:
    try:
        os.killpg(leader, 9)
    except ProcessLookupError:
        return


def copy_of_the_tree(target: Path) -> Path:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def equivalent() -> dict[str, str]:
    """The names of mutants that behave as the original, with the reason."""
    with (ROOT / "tests/equivalent.toml").open("rb") as file:
        return {one["mutant"]: one["reason"] for one in tomllib.load(file).get("equivalent", [])}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7030)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--only", default="", help="of the sample, the modules that start with this"
    )
    parser.add_argument("--list", action="store_true", help="print the sample and run nothing")
    options = parser.parse_args()
    everything = list(mutants())
    known = equivalent()
    stale = sorted(known.keys() - {mutant.name for mutant in everything})
    ranked = sorted(everything, key=lambda mutant: mutant.rank(options.seed))
    whole = islice(filter(compiles, ranked), options.count)
    drawn = [mutant for mutant in whole if mutant.module.startswith(options.only)]
    sample = [mutant for mutant in drawn if mutant.name not in known]
    if options.list:
        print("\n".join(mutant.name for mutant in sorted(sample)))
        return 0
    copies: Queue[Path] = Queue()
    survivors: list[Mutant] = []

    def judge(mutant: Mutant) -> None:
        copy = copies.get()
        try:
            survived = survives(mutant, copy)
        finally:
            copies.put(copy)
        outcome = "survived" if survived else "killed"
        print(f"{outcome:8} {mutant.name} (line {mutant.line})", flush=True)
        if survived:
            survivors.append(mutant)

    with TemporaryDirectory(prefix="smtpstatus-mutants-") as folder:
        for number in range(options.workers):
            copies.put(copy_of_the_tree(Path(folder) / str(number)))
        with ThreadPoolExecutor(options.workers) as pool:
            list(pool.map(judge, sample))
    killed = len(sample) - len(survivors)
    print(f"\n{killed} of {len(sample)} mutants killed; {len(drawn) - len(sample)} equivalent")
    for mutant in sorted(survivors):
        print(f"survived: {mutant.name}")
    for name in stale:
        print(f"equivalent.toml names a mutant that does not exist: {name}")
    failed = bool(stale) or killed < REQUIRED * len(sample)
    return 1 if options.count >= JUDGED and failed else 0


if __name__ == "__main__":
    sys.exit(main())
