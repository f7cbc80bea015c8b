"""Fuzz one target in this process, guided by the coverage of our own code: `python -m tests.fuzz.one TARGET CORPUS …`.

libFuzzer ends the process: 0 when its time is over, another code when a law did not hold. The input that showed it
is then in the file that `-artifact_prefix` says.
"""

import sys

import atheris

with atheris.instrument_imports(include=["inference"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS

__all__: list[str] = []


def main(arguments: list[str]) -> None:
    """Fuzz the target that the first argument names; the others are libFuzzer's."""
    target = TARGETS[arguments[0]]

    def check(data: bytes) -> None:
        target.check(data)

    atheris.Setup([sys.argv[0], *arguments[1:]], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
