"""docs/getting-started.md: its shell blocks, typed one after the other by a user who has nothing yet."""

import os
import re
import signal
import subprocess
from pathlib import Path

from tests.support.processes import COMMANDS, free_port

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/getting-started.md").read_text()


def script(folder: Path) -> str:
    """The blocks as one script, in a folder and on ports of the test's own."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    text = "set -eo pipefail\n" + "\n".join(blocks).replace("/tmp/smtpstatus-try", str(folder))
    smtp, status, web = free_port(), free_port(), free_port()
    flags = f"--smtp.listen-address=127.0.0.1:{smtp} --status.listen-address=127.0.0.1:{status}"
    text = text.replace("smtpstatus-server ", f"smtpstatus-server {flags} ")
    text = text.replace(
        "smtpstatus-exporter --config.file exporter.yml &",
        f"smtpstatus-exporter --config.file exporter.yml --web.listen-address 127.0.0.1:{web} &",
    )
    text = text.replace("127.0.0.1:7030", f"127.0.0.1:{status}")
    text = text.replace("127.0.0.1:17030", f"127.0.0.1:{web}")
    text = text.replace("curl -s", "curl -s --fail --retry 20 --retry-connrefused --retry-delay 1")
    # A user waits until the commands have started.
    get = re.search(r"^smtpstatus get .*$", text, re.MULTILINE)
    assert get
    text = text.replace(get[0], f"until {get[0]}; do sleep 0.2; done")
    return text.replace("sleep 1\n", "sleep 3\n")


def test_the_commands_of_the_page_work_in_order(tmp_path: Path) -> None:
    with (tmp_path / "output").open("w+") as output:
        process = subprocess.Popen(
            ["bash", "-c", script(tmp_path / "try")],
            env={**os.environ, "PATH": f"{COMMANDS}:{os.environ['PATH']}"},
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            status = process.wait(90)
        finally:
            # The script leaves the server and the exporter running.
            os.killpg(process.pid, signal.SIGKILL)
        output.seek(0)
        text = output.read()

    assert status == 0, text
    assert "configuration OK: 1 target" in text
    assert 'smtpstatus_connections_total{site="eu",target="mail-1"} 0' in text
    assert '"enabled":false' in text.replace(" ", "")
