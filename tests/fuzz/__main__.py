"""Fuzz the decoders of everything that strangers send: `python -m tests.fuzz [-max_total_time=60] [TARGET…]`.

Arguments with a dash go to libFuzzer. Each target has a process of its own and tells at the end how often it was
executed. Exits with 1 when a law did not hold anywhere, and says which input shows it.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from inference.oip.datatypes import DATATYPES
from tests.fuzz.targets import TARGETS

__all__: list[str] = []

#: Seconds for each target when nobody says otherwise; finds what few executions find.
_SECONDS: Final = 60
#: Bytes of one input. The largest seed is the manifest, with about 1,500.
_MAX_LENGTH: Final = 4096
#: Beyond that an input hangs.
_HANG_SECONDS: Final = 20
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_WORD: Final = re.compile(rb"[A-Za-z_][A-Za-z_0-9]{2,39}")
_COVERED: Final = re.compile(r"cov: (\d+)")


def main(arguments: list[str]) -> int:
    """Fuzz the named targets, or all, and return the exit code."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    names = [argument for argument in arguments if not argument.startswith("-")] or [*TARGETS]
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        _say(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
        return 2
    found = Path(".nox/fuzz-findings")
    found.mkdir(parents=True, exist_ok=True)
    failed = [name for name in names if not _fuzz(name, flags, found)]
    if failed:
        _say(f"a law does not hold: {', '.join(failed)}; the inputs are in {found}")
    return 1 if failed else 0


def _fuzz(name: str, flags: list[str], found: Path) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        corpus, words = Path(directory) / "corpus", Path(directory) / "words"
        corpus.mkdir()
        for number, seed in enumerate(TARGETS[name].seeds):
            (corpus / str(number)).write_bytes(seed)
        words.write_text("".join(f'"{word}"\n' for word in sorted(_words(name))))
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.one", name, str(corpus), f"-dict={words}"),
                *(f"-max_total_time={_SECONDS}", f"-max_len={_MAX_LENGTH}", f"-timeout={_HANG_SECONDS}"),
                *("-print_final_stats=1", f"-artifact_prefix={found}/{name}-", *flags),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    executed, covered = _EXECUTED.search(ended.stdout), _COVERED.findall(ended.stdout)
    sound = ended.returncode == 0 and executed is not None and int(executed[1]) > 0
    if not sound:
        _say(ended.stdout)
    count = f"{int(executed[1]):,} executions" if executed is not None else "ended early"
    _say(f"{name}: {count}, {covered[-1] if covered else 0} edges covered, {'sound' if sound else 'FAILED'}")
    return sound


def _words(name: str) -> set[str]:
    """Return the words of the seeds, and the datatypes, which chance alone would not put together again."""
    found = {word.decode() for seed in TARGETS[name].seeds for word in _WORD.findall(seed)}
    return found | {*DATATYPES} if name == "infer" else found


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
