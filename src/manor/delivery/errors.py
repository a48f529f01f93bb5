"""What can go wrong with a delivery.

DeliveryError          1  refused or failed
    ImageMalformed     7  this tree or index is no image that can be delivered
    NameTaken          8  the name exists with other contents
    NoConnection       3  nobody answers
    NotAuthorised      5  the token is missing, unknown, or of too small a role
    BadUsage           2  an option, or a combination of options, that means nothing
    NotSupported       2  an option that is described but not there yet
    Corrupt            1  what arrived is not what was announced
    NoSpace            1  the node's disk is too full
"""

from __future__ import annotations

from manor.config.errors import ManorError


class DeliveryError(ManorError):
    """The root of this room's failures."""


class ImageMalformed(DeliveryError):
    """/srv/image/dev/null: is a device; only regular files, directories and symbolic links are delivered"""

    exit_status = 7


class NameTaken(DeliveryError):
    """site/app.1 exists with other contents (id 4f2a...); images are never replaced, give it another name"""

    exit_status = 8


class NoConnection(DeliveryError):
    """127.0.0.1:8379: Connection refused"""

    exit_status = 3


class NotAuthorised(DeliveryError):
    """alpha: this needs a token; ..."""

    exit_status = 5


class BadUsage(DeliveryError):
    """`--metadata` needs `--version` and `--role`"""

    exit_status = 2


class NotSupported(DeliveryError):
    """`--method p2p` is not supported yet"""

    exit_status = 2

    def __init__(self, what: str) -> None:
        super().__init__(f"`{what}` is not supported yet")


class Corrupt(DeliveryError):
    """usr/bin/python3: other contents than announced"""


class NoSpace(DeliveryError):
    """1.2 GiB are free below /var/lib/lithos/containers/site, 2.0 GiB are needed"""
