"""Ctrl-C and a signal to end, sent to the command itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import onnx
import pytest
from duo import until
from fusion_models import spec_text
from mmedge_export.pack import uninterrupted
from onnx_models import late_graph

STEPS = ["reading the checkpoint", "drawing samples", "making one", "splitting", "computing", "proving"]
OF_LIBRARIES = (".ses", "torchinductor_")  # what onnxruntime 1.31 and torch keep there, whatever becomes of an export
COMMAND = "import sys; from mmedge.cli import cli, main; from mmedge_export.cli import export_command; "
COMMAND += "cli.add_command(export_command); sys.argv = ['mmedge', *sys.argv[1:]]; main()"


def interrupt(project, checkpoint, step, number, *, wait_s=0.0):
    """Send a signal when a step has begun; the exit status and what was said."""
    (project / "tmp").mkdir()
    before = sorted(project.iterdir())
    command = [sys.executable, "-c", COMMAND, "export", checkpoint, "-o", "out.mmedge", "--random-samples"]
    paths = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"  # where the factories are
    environment = os.environ | {"TMPDIR": str(project / "tmp"), "PYTHONUNBUFFERED": "1", "PYTHONPATH": paths}
    said = []
    with subprocess.Popen(
        command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        for line in child.stderr:  # a step is told when it has ended
            said.append(line)
            if len(said) >= STEPS.index(step):
                break
        sleep(wait_s)
        # a terminal sends Ctrl-C to all processes in front, a supervisor its signal to the one that it started
        os.killpg(child.pid, number) if number == signal.SIGINT else child.send_signal(number)
        said += child.stderr.readlines()
    until(lambda: not alive(child.pid))
    assert sorted(project.iterdir()) == before
    assert [path.name for path in (project / "tmp").iterdir() if not path.name.startswith(OF_LIBRARIES)] == []
    assert "Traceback" not in "".join(said)
    return child.returncode, "".join(said)


def alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def project(tmp_path):
    (tmp_path / "SPEC.toml").write_text(spec_text("late"))
    onnx.save(late_graph(), tmp_path / "late.onnx")
    return tmp_path


@pytest.mark.parametrize("step", STEPS[2:])
def test_ctrl_c_leaves_no_folder_no_file_and_no_process(project, step):
    status, said = interrupt(project, "late.onnx", step, signal.SIGINT, wait_s=0.1)
    assert status == 130
    assert said.endswith("interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize("step", ["making one", "computing"])
def test_ctrl_c_inside_torch_leaves_nothing(save, tmp_path, step):
    status, said = interrupt(tmp_path, save("late").name, step, signal.SIGINT, wait_s=1)
    assert status == 130
    assert said.endswith("interrupted\n")


def test_what_must_be_done_in_one_piece_is_interrupted_when_it_is_done():
    done = []

    def piece():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        piece()
    assert done == ["all of it"]


@pytest.mark.parametrize("step", ["splitting", "proving"])
def test_a_signal_to_end_leaves_nothing_either(project, step):
    assert interrupt(project, "late.onnx", step, signal.SIGTERM)[0] == 143
