"""What a user types about missing sensors."""

from collections.abc import Sequence

from mmedge.errors import InputError

__all__ = ["parse_ages", "parse_policies"]


def parse_policies(given: Sequence[str]) -> dict[str, list[str]]:
    """``sound=hold,mean`` as steps by port; ``sound=`` is none.

    Raises:
        InputError: It is not written so.
    """
    pairs = [_pair(text, "--policy", "sound=hold,mean,abstain") for text in given]
    return {port: [step for step in steps.split(",") if step] for port, steps in pairs}


def parse_ages(given: Sequence[str]) -> dict[str, float]:
    """``sound=300`` as milliseconds by port.

    Raises:
        InputError: It is not written so.
    """
    ages = {}
    for text in given:
        port, age = _pair(text, "--max-age", "sound=300, in milliseconds")
        try:
            ages[port] = float(age)
        except ValueError as error:
            raise InputError(f"--max-age {text}: expected sound=300, in milliseconds") from error
    return ages


def _pair(text: str, option: str, expected: str) -> tuple[str, str]:
    port, equals, value = text.partition("=")
    if not port or not equals:
        raise InputError(f"{option} {text}: expected {expected}")
    return port, value
