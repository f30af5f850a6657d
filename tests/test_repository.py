"""What holds of the repository itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("mmedge", "export/mmedge_export", "benchmarks/mmedge_bench")
    for path in (ROOT / folder).rglob("*.py")
)
HEAVY = {
    "onnxruntime": {"mmedge/backends/ort.py"},
    "tensorrt": {"mmedge/backends/trt.py", "export/mmedge_export/engines/build_process.py"},
    "tensorrt_rtx": {"mmedge/backends/trt.py", "export/mmedge_export/engines/build_process.py"},
    "cuda": {"mmedge/backends/cuda.py"},
    "av": {"mmedge/sources/media.py"},
    "prometheus_client": {"mmedge/exposition.py"},
    "gi": {"mmedge/sources/gstreamer.py"},
    "sounddevice": {"mmedge/sources/microphone.py"},
    "soxr": {"mmedge/sources/resample.py"},
    "tokenizers": {"mmedge/features/text.py"},
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """What headings can be linked to by, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page):
    for file, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / file if file else page
        assert target.exists(), f"{file} is not there"
        assert not anchor or anchor in anchors(target), f"{file} has no heading {anchor}"


def test_every_page_of_the_documentation_can_be_found_from_the_readme():
    found, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in found:
            continue
        found.add(page)
        links = [(page.parent / file).resolve() for file, _ in LINK.findall(page.read_text(encoding="utf-8")) if file]
        waiting += [link for link in links if link.suffix == ".md"]
    assert set((ROOT / "docs").resolve().glob("*.md")) <= found


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_module_can_be_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_what_a_module_lists_as_public_is_there_and_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    listed = next(
        (
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and "__all__" in ast.dump(node)
        ),
        None,
    )
    if listed is None:
        assert path.name in {"__init__.py", "__main__.py"}
        return
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert all(ast.get_docstring(node) for public, node in defined.items() if public in listed)
    assert listed == sorted(listed, key=lambda n: (not n.isupper(), not n[0].isupper(), n))


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_is_loaded_in_one_place(library):
    used = re.compile(rf"needs\(\s*\"{library}[\".]|^\s*(import|from) {library}\b", re.MULTILINE)
    everywhere = library.startswith("tensorrt")  # others may be used wherever export or bench needs them
    looked_at = [path for path in SOURCES if everywhere or name(path).startswith("mmedge/")]
    assert {name(path) for path in looked_at if used.search(path.read_text(encoding="utf-8"))} == HEAVY[library]


def test_help_can_be_shown_where_nothing_but_the_runtime_is_installed():
    program = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript', 'safetensors', 'onnxruntime', 'cv2'): sys.modules[name] = None\n"
        "sys.argv = ['mmedge', '--help']\n"
        "from mmedge.cli import main\nmain()"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert {
        "bench",
        "build",
        "check",
        "demo",
        "doctor",
        "export",
        "inspect",
        "quantize",
        "record",
        "run",
        "spec",
        "sync",
    } <= set(told.stdout.split())


def test_errors_are_drawn_in_the_docstring_of_their_module():
    import mmedge.errors

    drawn = set(re.findall(r"(\w+Error)\b", mmedge.errors.__doc__ or ""))
    classes = {each for each in mmedge.errors.__all__ if each.endswith("Error")}
    assert classes <= drawn
    builtins = (ImportError, ValueError, RuntimeError, OSError)
    for each in classes - {"MmedgeError"}:
        assert issubclass(getattr(mmedge.errors, each), builtins)
        assert issubclass(getattr(mmedge.errors, each), mmedge.errors.MmedgeError)
