"""What a user types about sensors that are missing, or are to count less."""

from collections.abc import Sequence

from mmedge.errors import InputError

__all__ = ["parse_numbers", "parse_policies"]


def parse_policies(given: Sequence[str]) -> dict[str, list[str]]:
    """``sound=hold,mean`` as steps by port; ``sound=`` is none.

    Raises:
        InputError: It is not written so.
    """
    pairs = [_pair(text, "--policy", "sound=hold,mean,abstain") for text in given]
    return {port: [step for step in steps.split(",") if step] for port, steps in pairs}


def parse_numbers(given: Sequence[str], option: str, expected: str) -> dict[str, float]:
    """``sound=300`` as a number by port.

    Args:
        given: What was typed.
        option: Behind which option, for messages.
        expected: An example.

    Raises:
        InputError: It is not written so.
    """
    numbers = {}
    for text in given:
        port, number = _pair(text, option, expected)
        try:
            numbers[port] = float(number)
        except ValueError as error:
            raise InputError(f"{option} {text}: expected {expected}") from error
    return numbers


def _pair(text: str, option: str, expected: str) -> tuple[str, str]:
    port, equals, value = text.partition("=")
    if not port or not equals:
        raise InputError(f"{option} {text}: expected {expected}")
    return port, value
