"""Processes that a callback forks, in a program of their own: what is sent to them is theirs."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORKING = """
import asyncio, multiprocessing, os, signal, sys, time
import uvloop
from app.callbacks.executors import part_forks

got = []

def fork_and_end(number):
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    process.start()
    os.kill(process.pid, number)
    process.join(600)
    code = process.exitcode
    process.kill()
    return code

async def main():
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        loop.add_signal_handler(number, got.append, number)
    part_forks()
    codes = {await asyncio.to_thread(fork_and_end, number) for number in [signal.SIGTERM, signal.SIGUSR1] * 20}
    print(sorted(codes), got)
    signal.raise_signal(signal.SIGTERM)
    while not got:
        await asyncio.sleep(0.01)
    print([int(number) for number in got])

with asyncio.Runner(loop_factory={"asyncio": None, "uvloop": uvloop.new_event_loop}[sys.argv[1]]) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_signal_to_a_forked_process_ends_that_one_and_is_not_heard_by_the_loop(loop: str) -> None:
    program = [sys.executable, "-W", "ignore", "-c", FORKING, loop]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=240, check=False)
    assert (ended.stdout.splitlines(), ended.stderr) == (["[-15, -10] []", "[15]"], "")


HOLDING = """
import multiprocessing, signal, socket, time
from app.callbacks.executors import close_in_forks, part_forks

part_forks()
listening = socket.create_server(("127.0.0.1", 0))
port = listening.getsockname()[1]
close_in_forks(listening)
user = listening.makefile("rb")  # as a loop is
process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
process.start()
with socket.create_connection(("127.0.0.1", port)):
    accepted, _ = listening.accept()  # it listens on
    accepted.close()
user.close()
listening.close()
for _ in range(4000):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        time.sleep(0.05)
    else:
        print("free", process.is_alive())
        break
"""


def test_a_forked_process_does_not_keep_the_port() -> None:
    program = [sys.executable, "-W", "ignore", "-c", HOLDING]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=240, check=False)
    assert (ended.stdout, ended.stderr) == ("free True\n", "")
