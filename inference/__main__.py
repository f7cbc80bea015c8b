"""`python -m inference`: serve until a signal says stop.

python -m inference                      serve; settings come from the environment
python -m inference --help               list the variables
python -m inference --settings-schema    print the JSON schema of the settings
python -m inference conform ADDRESS      check a server of the Open Inference Protocol, point by point
"""

import gc
import os
import sys
from collections.abc import Sequence
from typing import Any, cast

from inference.errors import ExitCode

# What the command line does not ask for is not imported: half of the time of a start goes into imports.


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks and return the exit code."""
    if arguments[:1] == ["conform"]:
        from inference.conform.command import main as conform  # noqa: PLC0415

        return conform(arguments[1:])
    if list(arguments) == ["--settings-schema"]:
        sys.stdout.write(_settings_schema())
        return ExitCode.OK
    if arguments:
        asked_help = list(arguments) in (["--help"], ["-h"])
        (sys.stdout if asked_help else sys.stderr).write(_help())
        return ExitCode.OK if asked_help else ExitCode.USAGE
    # pydantic would read the entry points of every installed package; with 240 of them that is 7 ms, and we use none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.disable()  # nothing of what is imported is garbage, and looking for some takes a tenth of a start
    _import_structlog()
    from inference.process import run  # noqa: PLC0415

    return run(os.environ, sys.stdout.fileno())


def _import_structlog() -> None:
    """Import structlog without rich, which it takes along where training has it installed: another tenth.

    So tracebacks in `console` format look the same whether it is installed or not. None in `sys.modules` is how Python
    is told that a module is not to be found (docs.python.org, "The import system").
    """
    modules: dict[str, Any] = cast("dict[str, Any]", sys.modules)
    if "rich" in modules:
        return
    modules["rich"] = None
    import structlog  # noqa: F401, PLC0415

    del modules["rich"]


def _settings_schema() -> str:
    import json  # noqa: PLC0415

    from inference.settings import Settings  # noqa: PLC0415

    return json.dumps(Settings.model_json_schema(), indent=2) + "\n"


def _help() -> str:
    import textwrap  # noqa: PLC0415

    from inference.settings import Settings  # noqa: PLC0415

    lines = [__doc__ or "", "Variables, each with its default:", ""]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = (
            "none"
            if default is None or default == ()
            else str(default).lower()
            if default is False
            else default
        )
        lines.append(f"  {name.upper()} ({shown})")
        lines.extend(
            textwrap.wrap(field.description or "", 96, initial_indent="      ", subsequent_indent="      ")
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
