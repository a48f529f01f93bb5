"""What can be wrong with keys, seals, signatures and tokens.

TrustError
    KeyFileError      the cluster key file cannot be used; nothing was read from it
    TokensFileError   the file of tokens cannot be used
    BadSeal           a sealed packet is not of this cluster, or was changed on its way
    BadSignature      a signed request is not of this cluster, was changed, is too old, or came before
"""

from __future__ import annotations

from manor.config.errors import ManorError


class TrustError(ManorError):
    """The root of this room's failures. No message ever holds a key, a token or a part of one."""


class KeyFileError(TrustError):
    """/etc/manor/cluster.key:3:1: this is no key; 32 bytes in base64 or hex would be right"""


class TokensFileError(TrustError):
    """/etc/manor/tokens.yaml:2:11: unknown role `root`; viewer, operator, deployer or admin would be right"""


class BadSeal(TrustError):
    """A packet that does not open: dropped and counted by whoever received it, never answered."""


class BadSignature(TrustError):
    """A request between nodes that does not verify; the text is the reason."""
