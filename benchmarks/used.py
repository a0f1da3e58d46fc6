"""What a command takes: `python -m benchmarks.used COMMAND...` runs it, and says its processor and memory as JSON.

A small process of its own, since the greatest memory of a program is never less than that of the one that started it.
"""

import json
import resource
import subprocess
import sys


def main() -> int:
    """The command's own status; what it prints goes to stderr."""
    done = subprocess.run(sys.argv[1:], stdout=sys.stderr, check=False)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"processor_s": used.ru_utime + used.ru_stime, "memory_kib": used.ru_maxrss}))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
