import gzip
from dataclasses import replace

import pytest
from click.testing import CliRunner
from made_up_results import made_up
from mmedge_bench.cli import bench_command
from mmedge_bench.compare import compare_results, exceeded, parse_limit
from mmedge_bench.result import read_result, write_result

from mmedge.errors import InputError


def verdicts(changes):
    return {(change.contestant, change.name): change.verdict for change in changes}


def test_ten_percent_more_in_a_stage_are_found_in_nine_of_ten_runs_and_blamed_on_it_alone():
    found = 0
    for seed in range(10):
        said = verdicts(compare_results(made_up(seed), made_up(100 + seed, slower=0.10)))
        found += said["mmedge", "image, alone"] == "slower"
        assert said["mmedge", "audio, alone"] == "within noise"
    assert found >= 9


def test_two_runs_of_the_same_code_are_within_noise_in_nine_of_ten():
    quiet = sum(
        set(verdicts(compare_results(made_up(seed), made_up(200 + seed))).values()) <= {"within noise"}
        for seed in range(10)
    )
    assert quiet >= 9


def test_a_slower_machine_is_not_slower_code():
    said = verdicts(compare_results(made_up(1), made_up(2, speed=1.3)))
    assert said["mmedge", "image, alone"] == "within noise"
    assert said["mmedge", "work per second"] == "within noise"


def test_one_round_is_too_few_to_tell():
    changes = compare_results(made_up(1, rounds=1), made_up(2, rounds=1, slower=0.5))
    assert {change.verdict for change in changes} == {"too few rounds to tell"}


def test_results_of_other_settings_are_not_compared():
    one = made_up(1)
    with pytest.raises(InputError, match="tick 50hz and 10hz"):
        compare_results(one, replace(one, settings=one.settings | {"tick": "10hz"}))
    with pytest.raises(InputError, match="different processors"):
        compare_results(one, replace(one, machine={"processor": "another"}))


@pytest.mark.parametrize("text", ["p99", "p98 > 5%", "p99 > x%", "p99 < 5%", ""])
def test_a_limit_that_is_not_understood_is_refused(text):
    with pytest.raises(InputError, match="p99 > 5%"):
        parse_limit(text)


def test_a_limit_is_exceeded_only_beyond_noise_and_beyond_it():
    changes = compare_results(made_up(1), made_up(2, slower=0.2))
    assert [change.name for change in exceeded(parse_limit("stage > 5%"), changes)] == ["image, alone"]
    assert not exceeded(parse_limit("stage > 40%"), changes)
    assert not exceeded(parse_limit("p99 > 1%"), changes)


def test_a_regression_ends_with_status_2_and_noise_with_0(tmp_path):
    for name, result in (("a", made_up(1)), ("b", made_up(2)), ("c", made_up(3, slower=0.2))):
        write_result(result, tmp_path / name)
    run = lambda *names: CliRunner().invoke(  # noqa: E731
        bench_command, ["compare", *(str(tmp_path / name) for name in names), "--fail-if", "stage > 5%"],
        standalone_mode=False,
    )  # fmt: skip
    quiet, broken = run("a", "b"), run("a", "c")
    assert quiet.return_value == 0
    assert "within noise" in quiet.output
    assert broken.return_value == 2
    assert "exceeded: stage > 5%: mmedge image, alone" in broken.output


@pytest.mark.parametrize(
    ("rounds", "limit", "told"),
    [(1, "stage > 5%", "measure with --rounds 2 or more"), (4, "start > 5%", "not in both results, which have")],
)
def test_a_limit_that_could_not_be_exceeded_does_not_pass(tmp_path, rounds, limit, told):
    for name in ("a", "b"):
        write_result(replace(made_up(1, rounds=rounds), starts=()), tmp_path / name)
    run = CliRunner().invoke(
        bench_command,
        ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--fail-if", limit],
        standalone_mode=False,
    )
    assert isinstance(run.exception, InputError)
    assert told in str(run.exception)


@pytest.mark.parametrize(("option", "name"), [("--page", "SPEC.toml"), ("-o", "page.html"), ("-o", "none/r.json")])
def test_where_a_result_cannot_or_should_not_go_is_told_before_measuring(tmp_path, option, name):
    (tmp_path / "SPEC.toml").write_text("kept")
    run = CliRunner().invoke(bench_command, ["nothing.mmedge", option, str(tmp_path / name)], standalone_mode=False)
    assert isinstance(run.exception, InputError)
    assert "choose another name" in str(run.exception)
    assert (tmp_path / "SPEC.toml").read_text() == "kept"


def test_a_result_survives_its_file(tmp_path):
    write_result(made_up(1), tmp_path / "r.json")
    assert read_result(tmp_path / "r.json") == made_up(1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "machine": 3}'])
def test_a_file_that_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(InputError, match="r.json"):
        read_result(tmp_path / "r.json")


@pytest.mark.parametrize("content", [b"", b"{}", gzip.compress(b'{"schema": 2}')[:-6], gzip.compress(b"[]")])
def test_a_compressed_file_that_is_no_result_is_refused(tmp_path, content):
    (tmp_path / "r.json.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"r\.json\.gz"):
        read_result(tmp_path / "r.json.gz")


def test_a_compressed_result_is_the_same_and_always_of_the_same_bytes(tmp_path):
    for name in ("a.json.gz", "b.json.gz"):
        write_result(made_up(1), tmp_path / name)
    assert read_result(tmp_path / "a.json.gz") == made_up(1)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
