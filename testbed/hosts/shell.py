"""Runs programs for the testbed. A program that fails is an exception that carries the end of its output."""

import os
import subprocess
import time


class Failed(Exception):
    """Something in the testbed did not work; the text says what, for the person who reads the test's output."""


def run(argv, timeout=60, check=True, input=None, env=None, cwd=None):
    """Runs a program to its end and returns a CompletedProcess with text output."""
    argv = [str(a) for a in argv]
    full_env = dict(os.environ, **env) if env else None
    try:
        done = subprocess.run(argv, input=input, stdin=subprocess.DEVNULL if input is None else None,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                              timeout=timeout, env=full_env, cwd=cwd)
    except subprocess.TimeoutExpired as e:
        raise Failed(f"{short(argv)}: no end after {timeout} s") from e
    except OSError as e:
        raise Failed(f"{short(argv)}: {e}") from e
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise Failed(f"{short(argv)}: exit code {done.returncode}: {said}")
    return done


def out(argv, **options):
    return run(argv, **options).stdout


def short(argv):
    text = " ".join(argv)
    return text if len(text) <= 300 else text[:300] + "..."


def wait_until(condition, timeout, what, pause=0.02):
    """Returns the first true value of condition(); fails with `what` after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"{what}: not after {timeout} s")
        time.sleep(pause)
