from pathlib import Path

import pytest

from manor.trust.errors import TokensFileError
from manor.trust.tokens import Identity, Tokens, make_token

NOW = 1_773_480_000.0  # 2026-03-14


def tokens(tmp_path: Path, text: str, mode: int = 0o600) -> Tokens:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    path.chmod(mode)
    return Tokens.read(path)


def test_a_made_token_is_recognised_by_its_entry_and_again_from_memory(tmp_path: Path) -> None:
    secret, entry = make_token("ann", "operator", roles_allowed=("site*",))
    known = tokens(tmp_path, entry)
    assert secret not in entry
    assert known.remembered(secret) is None
    assert known.authenticate(secret) == Identity("ann", "operator", ("site*",))
    assert known.remembered(secret) == Identity("ann", "operator", ("site*",))


def test_a_wrong_token_of_a_known_name_and_a_stranger_are_nobody(tmp_path: Path) -> None:
    secret, entry = make_token("ann", "viewer")
    known = tokens(tmp_path, entry)
    for wrong in (secret[:-1], secret + "x", "ann.", "", "bob." + secret, "ann." + "x" * 5000, "\udcff"):
        assert known.authenticate(wrong) is None
        assert known.remembered(wrong) is None


def test_a_token_ends_when_its_time_is_over_even_if_remembered(tmp_path: Path) -> None:
    secret, entry = make_token("ci", "deployer", ttl=60, now=NOW)
    known = tokens(tmp_path, entry)
    assert known.authenticate(secret, now=NOW + 59) is not None
    assert known.remembered(secret, now=NOW + 61) is None
    assert known.authenticate(secret, now=NOW + 61) is None


def test_a_day_is_a_good_end_too(tmp_path: Path) -> None:
    secret, entry = make_token("ci", "deployer")
    known = tokens(tmp_path, entry + "  expires: 2026-03-15\n")
    assert known.authenticate(secret, now=NOW) is not None
    assert known.authenticate(secret, now=NOW + 86_400) is None


def test_one_name_may_have_two_tokens_while_one_is_replaced(tmp_path: Path) -> None:
    (old, old_entry), (new, new_entry) = make_token("ci", "deployer"), make_token("ci", "deployer")
    known = tokens(tmp_path, old_entry + new_entry)
    assert known.authenticate(old) == known.authenticate(new) == Identity("ci", "deployer")


@pytest.mark.parametrize(
    ("role", "permissions"),
    [("viewer", "v"), ("operator", "vo"), ("deployer", "vd"), ("admin", "voda"), ("node", "vc")],
)
def test_what_each_role_may(role: str, permissions: str) -> None:
    who = Identity("x", role)
    assert {p for p in "vodac" if who.may(p)} == set(permissions)


def test_a_file_of_tokens_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokensFileError, match="others may read"):
        tokens(tmp_path, make_token("ann", "viewer")[1], mode=0o644)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('role: "viewer"', "role: root", '2:9: .*"root"'),
        ('role: "viewer"', 'role: "viewer"\n  rolse-allowed: [x]', "3:3: .*did you mean `roles-allowed`"),
        ('role: "viewer"', 'role: "viewer"\n  expires: tomorrow', "3:12: .*`tomorrow` is no day"),
        ("scrypt:16384", "scrypt:16383", "3:9: .*scrypt cost 16383; a power of two"),
        ("scrypt:16384", "md5", "3:9: "),
        ('name: "ann"', 'name: "an.n"', "1:9: "),
    ],
)
def test_a_bad_entry_is_named_with_its_position(tmp_path: Path, old: str, new: str, message: str) -> None:
    entry = make_token("ann", "viewer")[1]
    assert old in entry
    with pytest.raises(TokensFileError, match="tokens.yaml:" + message):
        tokens(tmp_path, entry.replace(old, new))
