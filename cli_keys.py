"""Verbs of `relay` about who may come in and who did what: tokens and the audit."""

from __future__ import annotations

import argparse
import functools
import getpass
import os
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from config import Settings
from console import hint, say
from errors import InputError, one_line

if TYPE_CHECKING:
    from jobs.service import Jobs

Verb = Callable[[argparse.Namespace, Settings], int]
_DONE = 0


def by_a_person(verb: Verb) -> Verb:
    """Let the audit say who of this machine's users ran a verb."""

    @functools.wraps(verb)
    def run(options: argparse.Namespace, settings: Settings) -> int:
        from jobs.audit import acting

        with acting(f"cli:{_user()}"):
            return verb(options, settings)

    return run


@by_a_person
def token(options: argparse.Namespace, settings: Settings) -> int:
    """Make, list or revoke named tokens."""
    from jobs.service import Jobs
    from jobs.views import Role

    if options.action != "list" and not options.name:
        raise InputError(f"Say which token: `relay token {options.action} NAME`.")
    if options.action == "add" and not options.role:
        raise InputError(f"Give a role: --role {', '.join(Role)}; see `relay token --help`.")
    with closing(Jobs(settings)) as jobs:
        if options.action == "add":
            print(jobs.tokens.add(options.name, Role(options.role)))
            hint("This token is shown only now: whoever has it comes in.")
        elif options.action == "revoke":
            jobs.tokens.revoke(options.name)
            say(f"{options.name}: revoked.")
        else:
            _list(jobs)
    return _DONE


def audit(options: argparse.Namespace, settings: Settings) -> int:
    """Print the latest actions of people, oldest first."""
    from jobs.service import Jobs

    with closing(Jobs(settings)) as jobs:
        for line in jobs.audit(options.last):
            parts = (_time(line.at), line.actor, line.action, line.job_id, line.detail)
            print("  ".join(one_line(part) for part in parts if part))
    return _DONE


def _list(jobs: Jobs) -> None:
    tokens = jobs.tokens.all()
    if not tokens:
        folder = jobs.settings.data_dir
        say(f"No tokens yet in {folder}: make one with `relay token add NAME --role ROLE`.")
        return
    print(f"{'NAME':<24} {'ROLE':<10} {'STATE':<8} {'MADE':<20}  LAST USED")
    for one in tokens:
        state = "active" if one.revoked is None else "revoked"
        used = "never" if one.last_used is None else _time(one.last_used)
        print(f"{one.name:<24} {one.role:<10} {state:<8} {_time(one.created):<20}  {used}")


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _user() -> str:
    """The user's name as the system knows it: variables such as USER could say anything."""
    try:
        import pwd
    except ImportError:  # Windows
        return getpass.getuser()
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container that runs under any number
        return str(os.getuid())
