"""`python -m inference.conform`: the same as `python -m inference conform`, without the server's libraries."""

import sys

from inference.conform.command import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
