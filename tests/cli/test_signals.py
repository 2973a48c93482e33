"""What a server does with signals while it is still being loaded."""

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
CODE = """
import os, signal
from cryptocast.cli.signals import outlive_the_start
outlive_the_start()
os.kill(os.getpid(), {number})
print("still here")
"""


@pytest.mark.parametrize(("number", "out"), [(signal.SIGTERM, ""), (signal.SIGUSR1, "still here\n")])
def test_a_stop_leaves_with_0_and_other_signals_are_ignored(number: signal.Signals, out: str) -> None:
    code = CODE.format(number=int(number))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, out)
