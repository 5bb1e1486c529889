"""Creates the virtual environment of a make target: `python3 deploy/make_venv.py DIR`.

Runs on any Python 3, so that a wrong version or a missing part is reported in one line.
"""

import sys
from pathlib import Path

if sys.version_info < (3, 11):
    sys.exit(
        "smtpstatus requires Python 3.11 or later, and %s is %d.%d: pass another as PYTHON=…"
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
try:
    import ensurepip  # noqa: F401
    import venv
except ImportError:
    sys.exit(
        "%s cannot create virtual environments: install its venv package"
        " (Debian, Ubuntu: apt install python3-venv)" % sys.executable
    )


def is_made_by_this_python(directory: str) -> bool:
    file = Path(directory, "pyvenv.cfg")
    home = f"home = {Path(sys.base_prefix, 'bin')}\n"
    return file.exists() and home in file.read_text()


venv.create(
    sys.argv[1], clear=not is_made_by_this_python(sys.argv[1]), symlinks=True, with_pip=True
)
