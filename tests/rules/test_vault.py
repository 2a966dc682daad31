"""The vault: what it seals opens with its keys, in its place, and nowhere else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.vault import SealBroken, Vault, new_key

OLD, NEW = new_key(), new_key()
PLACE = "provider key 1 of creator 2 at openrouter"
TEXTS = st.text(max_size=200).filter(lambda text: text.isprintable() or not text)


@given(plain=st.text(st.characters(codec="utf-8"), max_size=300), place=TEXTS)
def test_what_is_sealed_opens_in_its_place(plain: str, place: str) -> None:
    vault = Vault((NEW,))

    assert vault.open(vault.seal(plain, bound_to=place), bound_to=place) == plain


def test_the_same_text_is_never_sealed_alike() -> None:
    vault = Vault((NEW,))

    assert vault.seal("secret", bound_to=PLACE) != vault.seal("secret", bound_to=PLACE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "provider key 2 of creator 2 at openrouter",
        "provider key 1 of creator 3 at openrouter",
        "provider key 1 of creator 2 at anthropic",
        "",
    ],
)
def test_in_another_place_it_does_not_open(elsewhere: str) -> None:
    vault = Vault((NEW,))
    sealed = vault.seal("secret", bound_to=PLACE)

    with pytest.raises(SealBroken, match="of another place"):
        vault.open(sealed, bound_to=elsewhere)


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_envelope_does_not_open(position: int, flip: int) -> None:
    vault = Vault((NEW, OLD))
    version, key_id, nonce, body = vault.seal("secret", bound_to=PLACE).split(".")
    octets = bytearray(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    octets[position % len(octets)] ^= flip
    changed = base64.urlsafe_b64encode(octets).rstrip(b"=").decode()

    with pytest.raises(SealBroken):
        vault.open(".".join((version, key_id, nonce, changed)), bound_to=PLACE)


@pytest.mark.parametrize("text", ["", "1", "1.2.3.4", "iv:ct", "2.aaaaaaaa.bbbbbbbbbbbbbbbb.c" * 9])
def test_what_is_no_envelope_does_not_open(text: str) -> None:
    with pytest.raises(SealBroken):
        Vault((NEW,)).open(text, bound_to=PLACE)


def test_an_envelope_said_to_be_of_another_key_of_the_ring_does_not_open() -> None:
    vault = Vault((NEW, OLD))
    theirs = Vault((OLD,)).seal("secret", bound_to=PLACE)
    ours = vault.seal("secret", bound_to=PLACE)
    swapped = ".".join([*theirs.split(".")[:2], *ours.split(".")[2:]])

    with pytest.raises(SealBroken):
        vault.open(swapped, bound_to=PLACE)


def test_an_older_key_still_opens_and_the_newest_seals() -> None:
    before = Vault((OLD,)).seal("secret", bound_to=PLACE)
    vault = Vault((NEW, OLD))

    assert vault.open(before, bound_to=PLACE) == "secret"
    assert not vault.is_newest(before)
    assert vault.is_newest(vault.seal("secret", bound_to=PLACE))


def test_without_its_key_it_does_not_open_and_the_error_says_why() -> None:
    before = Vault((OLD,)).seal("secret", bound_to=PLACE)

    with pytest.raises(SealBroken, match="not in the ring"):
        Vault((NEW,)).open(before, bound_to=PLACE)


def test_what_is_derived_differs_by_purpose_and_by_key_and_stays_the_same() -> None:
    vault = Vault((NEW, OLD))

    derived = [*vault.derive("offers"), *vault.derive("receipts")]

    assert len(set(derived)) == 4
    assert all(len(key) == 32 for key in derived)
    assert Vault((NEW,)).derive("offers") == vault.derive("offers")[:1]


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ((), "no key"),
        (("short",), "key 1 is not 32 bytes"),
        ((NEW, "not base64url!" * 3), "key 2 is not 32 bytes"),
        ((NEW, ""), "key 2 is not 32 bytes"),
        ((NEW + "AAAA",), "key 1 is not 32 bytes"),
        (("A" * 43,), "key 1 is all zeros"),
        ((NEW, NEW), "twice"),
    ],
)
def test_a_ring_that_is_none_is_refused_in_words_without_a_key(
    keys: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        Vault(keys)

    assert not any(key and key in str(refused.value) for key in keys if len(key) > 5)


def test_a_key_may_have_its_padding() -> None:
    sealed = Vault((NEW + "=",)).seal("secret", bound_to=PLACE)

    assert Vault((NEW,)).open(sealed, bound_to=PLACE) == "secret"
