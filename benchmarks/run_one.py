"""One contender in a process of its own: ``python -m benchmarks.run_one MODULE.FUNCTION [ARGUMENT ...]``.

It imports nothing that the contender does not. What the function returns is printed as JSON.
"""

import importlib
import sys


def main() -> None:
    module, name = sys.argv[1].rsplit(".", 1)
    found = getattr(importlib.import_module(f"benchmarks.contenders.{module}"), name)(*sys.argv[2:])
    if found is not None:
        import json

        print(json.dumps(found))


if __name__ == "__main__":
    main()
