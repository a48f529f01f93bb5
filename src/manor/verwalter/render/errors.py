"""What can go wrong while a role is rendered, and the exit status of each.

RenderFailed           1
    BadInput           3  variables, schedule, limits or settings that cannot be used; nothing has run
    BadTemplateName    4  no usable `template` among the variables; nothing has run
    OtherVersion       5  the daemon is of another version; nothing has run
    BadTemplate       10  a template or render file cannot be read, parsed or rendered; nothing has run
    CommandFailed     20  a command failed; those before it have run
    Refused           20  the node's administrators do not allow a command; nothing has run
    LogFailed         81  rendered, but the log could not be written
"""

from __future__ import annotations

from manor.config.errors import ManorError


class RenderFailed(ManorError):
    """The root of this room's failures."""


class BadInput(RenderFailed):
    """`role` is missing in the variables, or not a text"""

    exit_status = 3


class BadTemplateName(RenderFailed):
    """`template: ../x` is not safe; 1 to 4 plain names with `/` between them"""

    exit_status = 4


class OtherVersion(RenderFailed):
    """`verwalter_version` is v0.9, this program is v1.0; restart verwalter"""

    exit_status = 5


class BadTemplate(RenderFailed):
    """templates/site/v1/processes.yaml.j2:7:1: 'database' is undefined"""

    exit_status = 10


class CommandFailed(RenderFailed):
    """`lithos_switch site /tmp/x`: exit status 1"""

    exit_status = 20


class Refused(CommandFailed):
    """templates/site/v1/a.render.yaml:3:3: `reboot` is not in `allow-commands` of this node; allowed: `sh`"""


class LogFailed(RenderFailed):
    """/var/log/verwalter/site/latest: No space left on device; the role itself is rendered"""

    exit_status = 81
