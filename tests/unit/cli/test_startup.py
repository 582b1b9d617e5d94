"""The command line starts with what every command needs, and no more."""

import subprocess
import sys

HEAVY = ("av", "faster_whisper", "httpx", "numpy", "prometheus_client", "psycopg", "realtime", "supabase")


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nsys.argv = ['smelt', '--help']\nfrom smelt.cli import main\n"
        f"try:\n    main()\nfinally:\n    print(*sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == []
    for command in ("doctor", "list", "contract", "init", "worker"):
        assert command in done.stdout
