"""EVM addresses and their checksum: the examples of EIP-55 itself."""

import pytest

from gateways.evm_addresses import checksummed, problem_of

EXAMPLES = (
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
)


@pytest.mark.parametrize("address", EXAMPLES)
def test_the_checksum_is_that_of_the_standard(address: str) -> None:
    assert checksummed(address.lower()) == address
    assert problem_of(address) is None


@pytest.mark.parametrize("address", EXAMPLES)
def test_without_mixed_case_there_is_no_checksum_to_be_wrong(address: str) -> None:
    assert problem_of(address.lower()) is None
    assert problem_of("0x" + address[2:].upper()) is None


@pytest.mark.parametrize("address", EXAMPLES)
def test_one_mistyped_character_is_found(address: str) -> None:
    last = address[-1]
    mistyped = address[:-1] + ("1" if last != "1" else "2")

    assert "checksum" in (problem_of(mistyped) or "")
    assert "checksum" in (problem_of(address[:-1] + last.swapcase()) or "checksum")


@pytest.mark.parametrize("text", ["", "0x", "0x" + "g" * 40, "0x" + "a" * 39, "a" * 42, " 0x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert problem_of(text) is not None


@pytest.mark.parametrize("ending", ["\n", " ", "\0", "0"])
def test_an_address_with_something_behind_it_is_none(ending: str) -> None:
    assert problem_of(EXAMPLES[0] + ending) is not None


def test_nobodys_address_is_refused() -> None:
    assert problem_of("0x" + "0" * 40) is not None
