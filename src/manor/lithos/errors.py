"""Expected failures of lithos.

ManorError
  LithosError              exit 1
    Fatal                  the master cannot start: bad master config, directories, another master alive
      NotFound             exit 127: no runtime, no init
    StartRefused           one instance cannot start as things are; tried again after `restart-timeout`
    RecordError            a record file that is none
    UsageError             exit 2
"""

from __future__ import annotations

from manor.config.errors import ManorError


class LithosError(ManorError):
    """An expected failure of one of the lithos commands."""


class Fatal(LithosError):
    """Fatal error: /etc/lithos/master.yaml:3:1: Validation Error: unknown keys: foo; ..."""


class NotFound(Fatal):
    exit_status = 127


class StartRefused(LithosError):
    """/config/web.yaml: volume `/db`: ...: names file and option; who logs it adds the name of the instance."""


class RecordError(LithosError):
    """/run/lithos/containers/x.json:1:1: not a record: ..."""


class UsageError(LithosError):
    exit_status = 2
